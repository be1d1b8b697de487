//! Which callbacks a socket still has when it closes: those that have nothing left to do are given up.

use sidestep::dataplane::Pairing;

use super::history::{CONFIG, Connect, FOREIGN, Form, Insns, Op, RTT_FLAG, Settings, Simulation, WRITE_HDR_OPT_FLAG};

const OURS: u32 = RTT_FLAG | WRITE_HDR_OPT_FLAG;
/// By their numbers: the newest socket is number 0.
const SERVER: u8 = 0;
const CLIENT: u8 = 1;

/// The newest connection of a history, with a message that its server has read, behind these settings.
fn connected(pairing: Pairing, form: Form, how: Connect, keepalive: u32) -> Simulation {
    let plane = form.plane(pairing);
    let mut simulation = Simulation::new(&plane, form, &Insns::of(&plane, form), CONFIG);
    let settings = Op::Settings(Settings { keepalive, ..Settings::PLAIN });
    let begin = [settings, Op::Connect(how), Op::Handshake(SERVER), Op::Accept(SERVER)];
    let message = [Op::Send(CLIENT, 10), Op::FinishSend(CLIENT), Op::Recv(SERVER, 10)];
    let read = [Op::StepRecv(SERVER), Op::StepRecv(SERVER), Op::StepRecv(SERVER)];
    for op in begin.into_iter().chain(message).chain(read) {
        simulation.step(op).unwrap();
    }
    simulation
}

/// The callbacks of an end before and after these steps, and whether it is closed then. A closed socket stays in memory while a
/// message from it or to it is underway.
fn around(simulation: &mut Simulation, end: u8, steps: &[Op]) -> ([u32; 2], bool) {
    let id = simulation.world.socket_ids().into_iter().rev().nth(end.into()).unwrap();
    let callbacks = |simulation: &Simulation| simulation.world.socket(id).unwrap().cb_flags();
    let before = callbacks(simulation);
    for op in steps {
        simulation.step(*op).unwrap();
    }
    ([before, callbacks(simulation)], simulation.world.socket(id).unwrap().is_closed())
}

/// The gated programs with both ways to pair, and the callbacks that they want.
fn each(mut check: impl FnMut(Pairing, Form, u32)) {
    for pairing in [Pairing::Sequence, Pairing::FourTuple] {
        for (form, ours) in [(Form::Calls, RTT_FLAG), (Form::Waking, OURS), (Form::Loads, OURS)] {
            check(pairing, form, ours);
        }
    }
}

#[test]
fn a_socket_that_closes_gives_its_callbacks_up() {
    each(|pairing, form, ours| {
        for (end, other) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
            let mut simulation = connected(pairing, form, Connect::plain(), 0);
            let ([before, after], closed) = around(&mut simulation, end, &[Op::Send(other, 10), Op::Close(end)]);
            assert!(closed);
            assert_eq!([before & OURS, after & OURS], [ours, 0], "{pairing:?}, {}, {end}", form.name());
        }
    });
}

#[test]
fn what_another_program_has_asked_for_stays() {
    each(|pairing, form, _| {
        let mut simulation = connected(pairing, form, Connect::with_foreign_callbacks(), 0);
        let ([_, after], closed) = around(&mut simulation, CLIENT, &[Op::Send(SERVER, 10), Op::Close(CLIENT)]);
        assert!(closed);
        assert_eq!(after & (OURS | FOREIGN), FOREIGN, "{pairing:?}, {}", form.name());
    });
}

#[test]
fn a_socket_that_may_still_need_its_callbacks_keeps_them() {
    each(|pairing, form, ours| {
        // Its bytes have not arrived.
        let by_stack = [Op::Pressure(true), Op::Send(CLIENT, 10), Op::FinishSend(CLIENT), Op::Pressure(false)];
        let unread = [&by_stack[..], &[Op::Close(CLIENT)]].concat();
        // It is still a member.
        let member = vec![Op::ShutdownRead(CLIENT), Op::ShutdownWrite(CLIENT)];
        // Its keepalive is ours, since connections are tracked.
        let probed = vec![Op::Send(CLIENT, 10), Op::Close(SERVER)];
        for (end, keepalive, steps) in [(CLIENT, 0, unread), (CLIENT, 0, member), (SERVER, 600, probed)] {
            if keepalive != 0 && ours == RTT_FLAG {
                continue;
            }
            let mut simulation = connected(pairing, form, Connect::plain(), keepalive);
            let ([_, after], _) = around(&mut simulation, end, &steps);
            assert_eq!(after & OURS, ours, "{pairing:?}, {}, {steps:?}", form.name());
        }
    });
}
