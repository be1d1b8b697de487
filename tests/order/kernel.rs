//! What the kernel does around the programs, as accesses to shared words: net/ipv4/tcp_bpf.c, net/core/skmsg.c, net/core/sock_map.c,
//! net/core/sock.c and net/ipv4/tcp.c of Linux 6.12, in the order that docs/explanation/memory-order.md states.

use super::event::{Change, Order};
use super::pair::{End, R};
use super::process::{Cpu, Stop};
use super::programs;
use super::sleep::data_ready;

/// Messages in a list are four bits each, the oldest in the lowest ones.
const MESSAGE_BITS: u32 = 4;

fn end_of(cpu: &Cpu, end: usize) -> End {
    cpu.pair.ends[end].clone()
}

/// How many messages a list has.
pub(crate) fn length(list: u64) -> u32 {
    (u64::BITS - list.leading_zeros()).div_ceil(MESSAGE_BITS)
}

/// A list with more messages behind it.
fn appended(list: u64, messages: u64) -> u64 {
    list | messages << (length(list) * MESSAGE_BITS)
}

/// `sk_psock_get`: takes a reference, if the socket has a psock.
pub(crate) fn sk_psock_get(cpu: &mut Cpu, end: usize) -> Result<bool, Stop> {
    let refs = end_of(cpu, end).refs;
    Ok(cpu.update(refs, Change::IncrementUnlessZero, Order::Relaxed)? != 0)
}

/// `sk_psock_put`: gives it back; the last one takes the queue with it (`sk_psock_drop`).
pub(crate) fn sk_psock_put(cpu: &mut Cpu, end: usize) -> Result<(), Stop> {
    let End { refs, user_data, queue, .. } = end_of(cpu, end);
    if cpu.update(refs, Change::Add(u64::MAX), Order::Release)? != 1 {
        return Ok(());
    }
    cpu.store_release(user_data, 0)?;
    // Under the lock of the queue.
    if cpu.update(queue, Change::Add(0), Order::Full)? != 0 {
        return Err(cpu.fail("a message is thrown away with its queue"));
    }
    Ok(())
}

/// `sock_hash_delete_elem`: whether the entry was there.
pub(crate) fn sock_hash_delete(cpu: &mut Cpu, end: usize) -> Result<bool, Stop> {
    let member = end_of(cpu, end).member;
    // Under the lock of its bucket.
    if cpu.update(member, Change::Set(0), Order::Acquire)? == 0 {
        return Ok(false);
    }
    sk_psock_put(cpu, end)?;
    Ok(true)
}

/// `sock_map_update_elem_sys`: a process enters the socket that joins late (`sock_map_link`, `sk_psock_init`).
pub(crate) fn sock_hash_update(cpu: &mut Cpu, end: usize) -> Result<(), Stop> {
    let End { refs, user_data, member, prot, .. } = end_of(cpu, end);
    let (prot, psock) = prot.expect("it joins late");
    lock_sock(cpu, end)?;
    cpu.store(refs, 1)?;
    cpu.store_release(user_data, psock)?;
    cpu.store(prot, 1)?;
    // Under the lock of its bucket.
    cpu.update(member, Change::Set(1), Order::Full)?;
    release_sock(cpu, end)
}

/// `lock_sock`.
pub(crate) fn lock_sock(cpu: &mut Cpu, end: usize) -> Result<(), Stop> {
    let End { spin, owned, .. } = end_of(cpu, end);
    cpu.lock(spin, Some(owned))?;
    cpu.store(owned, 1)?;
    if cpu.pair.orders_owner {
        cpu.fence()?;
    }
    cpu.store_release(spin, 0)?;
    cpu.find_kept(end)
}

/// `release_sock`: what has come meanwhile joins the bytes of the stack.
pub(crate) fn release_sock(cpu: &mut Cpu, end: usize) -> Result<(), Stop> {
    let End { spin, owned, stack, backlog, .. } = end_of(cpu, end);
    cpu.leave_kept(end)?;
    cpu.lock(spin, None)?;
    let came = cpu.load(backlog)?;
    if came != 0 {
        let list = cpu.load(stack)?;
        cpu.store(stack, appended(list, came))?;
        cpu.store(backlog, 0)?;
        has_come(cpu, end)?;
    }
    cpu.store(owned, 0)?;
    cpu.store_release(spin, 0)
}

/// A packet arrives (`tcp_v4_rcv`).
fn deliver(cpu: &mut Cpu, end: usize, message: u64) -> Result<(), Stop> {
    let End { spin, owned, stack, backlog, .. } = end_of(cpu, end);
    cpu.lock(spin, None)?;
    let list = if cpu.load(owned)? != 0 { backlog } else { stack };
    let before = cpu.load(list)?;
    cpu.store(list, appended(before, message))?;
    if list == stack {
        has_come(cpu, end)?;
    }
    cpu.store_release(spin, 0)
}

/// The stack has new bytes: their reader is notified, and they are acknowledged (`tcp_rcv_established`), where the scenario has it.
fn has_come(cpu: &mut Cpu, end: usize) -> Result<(), Stop> {
    data_ready(cpu, end)?;
    if cpu.pair.acknowledges && end == R {
        cpu.find_kept(end)?;
        acknowledges(cpu, end)?;
        cpu.leave_kept(end)?;
    }
    Ok(())
}

/// An end sends a packet that acknowledges all bytes of the stack: its callback runs.
pub(crate) fn acknowledges(cpu: &mut Cpu, end: usize) -> Result<(), Stop> {
    let End { stack, copied_seq, .. } = end_of(cpu, end);
    let (unread, seq) = (cpu.load(stack)?, cpu.load(copied_seq)?);
    programs::packet(cpu, end, (seq + u64::from(length(unread))) as u32)
}

/// Threads that send number their messages apart: 1 to 7, and 9 to 15.
pub(crate) const THREAD: u64 = 8;

/// A message: the number under which its reader is to get it, and what the program sees as its size. A message of the stack counts
/// as one byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) number: u64,
    pub(crate) size: u32,
    /// Whether it arrives when it takes the stack; otherwise that does not matter to the scenario.
    pub(crate) arrives: bool,
}

/// `tcp_bpf_sendmsg` with a message.
pub(crate) fn sendmsg(cpu: &mut Cpu, from: usize, message: Message) -> Result<(), Stop> {
    if !sk_psock_get(cpu, from)? {
        lock_sock(cpu, from)?;
        push(cpu, from, message)?;
        return release_sock(cpu, from);
    }
    lock_sock(cpu, from)?;
    if programs::verdict(cpu, from, message.size)? {
        let inside = end_of(cpu, 1 - from).inside;
        if cpu.ask(inside)? != 0 {
            return Err(
                cpu.fail("a message is redirected while its reader is inside the call that has read all before it")
            );
        }
        release_sock(cpu, from)?;
        redirect(cpu, 1 - from, message.number)?;
        lock_sock(cpu, from)?;
    } else {
        push(cpu, from, message)?;
    }
    release_sock(cpu, from)?;
    sk_psock_put(cpu, from)
}

/// `tcp_bpf_sendmsg_redir`, and `bpf_tcp_ingress`.
fn redirect(cpu: &mut Cpu, to: usize, message: u64) -> Result<(), Stop> {
    if !sk_psock_get(cpu, to)? {
        return Err(cpu.fail("a redirected message finds no psock: the sender gets EPIPE"));
    }
    lock_sock(cpu, to)?;
    let queue = end_of(cpu, to).queue;
    let list = cpu.load(queue)?;
    cpu.store(queue, appended(list, message))?;
    data_ready(cpu, to)?;
    release_sock(cpu, to)?;
    sk_psock_put(cpu, to)
}

/// A message by the stack, under the sender's lock.
fn push(cpu: &mut Cpu, from: usize, message: Message) -> Result<(), Stop> {
    cpu.advance_write_seq(from)?;
    if message.arrives { deliver(cpu, 1 - from, message.number) } else { Ok(()) }
}

/// An acknowledgement arrives: the callback runs under the spin lock, unless a thread owns the socket.
pub(crate) fn acknowledge(cpu: &mut Cpu, end: usize) -> Result<(), Stop> {
    let End { spin, owned, .. } = end_of(cpu, end);
    cpu.lock(spin, None)?;
    if cpu.load(owned)? == 0 {
        cpu.find_kept(end)?;
        programs::callback(cpu, end)?;
        cpu.leave_kept(end)?;
    }
    cpu.store_release(spin, 0)
}

/// `tcp_bpf_recvmsg` for all that there is; before the socket is a member, `tcp_recvmsg`.
pub(crate) fn recvmsg(cpu: &mut Cpu, end: usize) -> Result<(), Stop> {
    let End { stack, queue, prot, .. } = end_of(cpu, end);
    if let Some((prot, _)) = prot
        && cpu.load(prot)? == 0
    {
        return tcp_recvmsg(cpu, end);
    }
    if !sk_psock_get(cpu, end)? {
        return tcp_recvmsg(cpu, end);
    }
    let by_stack = cpu.load(stack)? != 0;
    if cpu.pair.orders_looks {
        cpu.fence()?;
    }
    if by_stack && cpu.load(queue)? == 0 {
        sk_psock_put(cpu, end)?;
        return tcp_recvmsg(cpu, end);
    }
    lock_sock(cpu, end)?;
    take_queue(cpu, end)?;
    release_sock(cpu, end)?;
    sk_psock_put(cpu, end)
}

/// `tcp_bpf_recvmsg` with MSG_PEEK: the application sees what there is, and it stays.
pub(crate) fn peekmsg(cpu: &mut Cpu, end: usize) -> Result<(), Stop> {
    let End { stack, queue, .. } = end_of(cpu, end);
    if !sk_psock_get(cpu, end)? {
        return tcp_peekmsg(cpu, end);
    }
    let by_stack = cpu.load(stack)? != 0;
    if cpu.pair.orders_looks {
        cpu.fence()?;
    }
    if by_stack && cpu.load(queue)? == 0 {
        sk_psock_put(cpu, end)?;
        return tcp_peekmsg(cpu, end);
    }
    lock_sock(cpu, end)?;
    let list = cpu.load(queue)?;
    cpu.see(list)?;
    release_sock(cpu, end)?;
    sk_psock_put(cpu, end)
}

/// The same of `tcp_recvmsg`.
fn tcp_peekmsg(cpu: &mut Cpu, end: usize) -> Result<(), Stop> {
    lock_sock(cpu, end)?;
    let list = cpu.load(end_of(cpu, end).stack)?;
    cpu.see(list)?;
    release_sock(cpu, end)
}

/// The application gets all redirected messages; whether there are any.
pub(crate) fn take_queue(cpu: &mut Cpu, end: usize) -> Result<bool, Stop> {
    let queue = end_of(cpu, end).queue;
    let list = cpu.load(queue)?;
    if list != 0 {
        cpu.store(queue, 0)?;
        cpu.receive(list)?;
    }
    Ok(list != 0)
}

/// `tcp_recvmsg` of a socket that does not block: it takes what the stack has, and returns.
fn tcp_recvmsg(cpu: &mut Cpu, end: usize) -> Result<(), Stop> {
    let queue = end_of(cpu, end).queue;
    lock_sock(cpu, end)?;
    if cpu.pair.looks_under_lock && cpu.load(queue)? != 0 {
        return release_sock(cpu, end);
    }
    take_stack(cpu, end)?;
    release_sock(cpu, end)
}

/// The application gets all that the stack has; whether there is any.
pub(crate) fn take_stack(cpu: &mut Cpu, end: usize) -> Result<bool, Stop> {
    let End { stack, copied_seq, inside, .. } = end_of(cpu, end);
    let list = cpu.load(stack)?;
    if list != 0 {
        cpu.store(stack, 0)?;
        cpu.receive(list)?;
        let seq = cpu.load(copied_seq)?;
        cpu.note(inside, 1)?;
        cpu.store(copied_seq, seq + u64::from(length(list)))?;
        cpu.note(inside, 0)?;
    }
    Ok(list != 0)
}
