//! Readers that sleep in recv(2), and readers that wait for an event: what the kernel does to put them to sleep and to wake them
//! (net/core/sock.c, net/ipv4/tcp_bpf.c and fs/eventpoll.c of Linux 6.12).

use super::event::{Change, Order};
use super::kernel::{
    acknowledges, lock_sock, recvmsg, release_sock, sk_psock_get, sk_psock_put, take_queue, take_stack,
};
use super::pair::{End, R, Sleep};
use super::process::{Cpu, Stop};

fn sleep_of(cpu: &Cpu) -> Sleep {
    cpu.pair.sleep.expect("the words of a sleeper are declared")
}

/// `sock_def_readable`. An epoll instance is always in the socket's wait queue.
pub(crate) fn data_ready(cpu: &mut Cpu, end: usize) -> Result<(), Stop> {
    let Some(Sleep { waits, quiet, barrier, .. }) = cpu.pair.sleep.filter(|_| end == R) else { return Ok(()) };
    // `skwq_has_sleeper`.
    if barrier {
        cpu.fence()?;
    }
    if cpu.load(waits)? != 0 {
        cpu.update(quiet, Change::Set(0), Order::Full)?;
    }
    Ok(())
}

/// `tcp_set_rcvlowat` tells R's reader that there is something.
pub(crate) fn wake(cpu: &mut Cpu) -> Result<(), Stop> {
    data_ready(cpu, R)
}

/// `sk_wait_event` under the socket's lock, once: until `has_data`, which is asked without the lock, or until it is woken.
fn wait_for_data(cpu: &mut Cpu, end: usize, has_data: fn(&mut Cpu, &End) -> Result<bool, Stop>) -> Result<(), Stop> {
    let (this, Sleep { waits, quiet, .. }) = (cpu.pair.ends[end].clone(), sleep_of(cpu));
    // `add_wait_queue`, under the lock of the wait queue.
    cpu.update(quiet, Change::Set(1), Order::Acquire)?;
    cpu.update(waits, Change::Set(1), Order::Release)?;
    release_sock(cpu, end)?;
    if !has_data(cpu, &this)? {
        cpu.lock(quiet, None)?;
    }
    lock_sock(cpu, end)?;
    cpu.update(waits, Change::Set(0), Order::Acquire).map(drop)
}

/// `tcp_bpf_recvmsg` of a socket that blocks, for all that there is: at least one message.
pub(crate) fn recvmsg_blocks(cpu: &mut Cpu, end: usize) -> Result<(), Stop> {
    let End { stack, queue, .. } = cpu.pair.ends[end].clone();
    if !sk_psock_get(cpu, end)? {
        return tcp_recvmsg_blocks(cpu, end);
    }
    let by_stack = cpu.load(stack)? != 0;
    if cpu.pair.orders_looks {
        cpu.fence()?;
    }
    if by_stack && cpu.load(queue)? == 0 {
        sk_psock_put(cpu, end)?;
        return tcp_recvmsg_blocks(cpu, end);
    }
    lock_sock(cpu, end)?;
    if !take_queue(cpu, end)? {
        // `tcp_msg_wait_data`.
        wait_for_data(cpu, end, |cpu, this| Ok(cpu.load(this.queue)? != 0 || cpu.load(this.stack)? != 0))?;
        if cpu.load(queue)? == 0 && cpu.load(stack)? != 0 {
            release_sock(cpu, end)?;
            sk_psock_put(cpu, end)?;
            return tcp_recvmsg_blocks(cpu, end);
        }
        take_queue(cpu, end)?;
    }
    release_sock(cpu, end)?;
    sk_psock_put(cpu, end)
}

/// `tcp_recvmsg` of a socket that blocks: it does not see redirected messages.
fn tcp_recvmsg_blocks(cpu: &mut Cpu, end: usize) -> Result<(), Stop> {
    lock_sock(cpu, end)?;
    if !take_stack(cpu, end)? {
        wait_for_data(cpu, end, |cpu, this| Ok(cpu.load(this.stack)? != 0))?;
        take_stack(cpu, end)?;
    }
    release_sock(cpu, end)
}

/// `recv(2)` with MSG_WAITALL of a socket that blocks, for so many messages in all. What comes by the redirect queue is returned at
/// once (`tcp_bpf_recvmsg`); a call that reads the stack goes on until it has them all, and sees the stack alone.
pub(crate) fn recvmsg_waits_for_all(cpu: &mut Cpu, end: usize, messages: u64) -> Result<(), Stop> {
    let End { stack, queue, .. } = cpu.pair.ends[end].clone();
    let is_member = sk_psock_get(cpu, end)?;
    if is_member {
        let by_stack = cpu.load(stack)? != 0;
        if cpu.pair.orders_looks {
            cpu.fence()?;
        }
        let by_queue = !by_stack || cpu.load(queue)? != 0;
        sk_psock_put(cpu, end)?;
        if by_queue {
            return recvmsg_blocks(cpu, end);
        }
    }
    lock_sock(cpu, end)?;
    loop {
        take_stack(cpu, end)?;
        if cpu.messages()[0] >= messages {
            return release_sock(cpu, end);
        }
        wait_for_data(cpu, end, |cpu, this| Ok(cpu.load(this.stack)? != 0))?;
    }
}

/// A reader that waits for events (EPOLLET), and takes a short read for the end of what there is: until it has all messages.
pub(crate) fn reads_on_events(cpu: &mut Cpu, messages: [u64; 2]) -> Result<(), Stop> {
    let Sleep { quiet, probe, over, .. } = sleep_of(cpu);
    while cpu.messages() != messages {
        // A second goes by, in which keepalive probes, where it is to.
        cpu.update(probe, Change::Set(0), Order::Full)?;
        cpu.lock(quiet, None)?;
        recvmsg(cpu, R)?;
    }
    cpu.note(over, 1)?;
    cpu.update(probe, Change::Set(0), Order::Full).map(drop)
}

/// Keepalive at the receiver: a probe each time its reader has waited for a second, and with each the callback of a packet.
pub(crate) fn probes(cpu: &mut Cpu) -> Result<(), Stop> {
    let Sleep { probe, over, .. } = sleep_of(cpu);
    loop {
        cpu.lock(probe, None)?;
        if cpu.ask(over)? != 0 {
            return Ok(());
        }
        let End { spin, owned, .. } = cpu.pair.ends[R].clone();
        // While a thread owns the socket the timer comes again a little later (`tcp_keepalive_timer`).
        cpu.lock(spin, Some(owned))?;
        cpu.find_kept(R)?;
        acknowledges(cpu, R)?;
        cpu.leave_kept(R)?;
        cpu.store_release(spin, 0)?;
    }
}
