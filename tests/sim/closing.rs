//! Which callbacks a socket still has when it closes: those that have nothing left to do are given up.

use sidestep::dataplane::Pairing;

use super::history::{CONFIG, Connect, FOREIGN, Form, Insns, Op, RTT_FLAG, Settings, Simulation, WRITE_HDR_OPT_FLAG};

const OURS: u32 = RTT_FLAG | WRITE_HDR_OPT_FLAG;
/// By their numbers: the newest socket is number 0.
const SERVER: u8 = 0;
const CLIENT: u8 = 1;

/// The callbacks of the client before and after it has closed, and these steps before. The last of them keeps the closed socket
/// in memory: a message from it or to it is underway.
fn around_close(pairing: Pairing, form: Form, how: Connect, steps: &[Op]) -> [u32; 2] {
    let plane = form.plane(pairing);
    let mut simulation = Simulation::new(&plane, form, &Insns::of(&plane), CONFIG);
    // Without connection tracking the server's keepalive is its own.
    let settings = Op::Settings(Settings { keepalive: 0, ..Settings::PLAIN });
    let begin = [settings, Op::Connect(how), Op::Handshake(SERVER), Op::Accept(SERVER)];
    let message = [Op::Send(CLIENT, 10), Op::FinishSend(CLIENT), Op::Recv(SERVER, 10)];
    let read = [Op::StepRecv(SERVER), Op::StepRecv(SERVER), Op::StepRecv(SERVER)];
    for op in begin.into_iter().chain(message).chain(read).chain(steps.iter().cloned()) {
        simulation.step(op).unwrap();
    }
    let client = simulation.world.socket_ids().into_iter().rev().nth(CLIENT.into()).unwrap();
    let callbacks = |simulation: &Simulation| simulation.world.socket(client).unwrap().cb_flags();
    let before = callbacks(&simulation);
    simulation.step(Op::Close(CLIENT)).unwrap();
    assert!(simulation.world.socket(client).unwrap().is_closed());
    [before, callbacks(&simulation)]
}

/// The gated programs with both ways to pair.
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
        let [before, after] = around_close(pairing, form, Connect::plain(), &[Op::Send(SERVER, 10)]);
        assert_eq!([before & OURS, after & OURS], [ours, 0], "{pairing:?}, {}", form.name());
    });
}

#[test]
fn what_another_program_has_asked_for_stays() {
    each(|pairing, form, _| {
        let how = Connect::with_foreign_callbacks();
        let [_, after] = around_close(pairing, form, how, &[Op::Send(SERVER, 10)]);
        assert_eq!(after & (OURS | FOREIGN), FOREIGN, "{pairing:?}, {}", form.name());
    });
}

#[test]
fn a_socket_whose_bytes_have_not_arrived_keeps_its_callbacks() {
    each(|pairing, form, ours| {
        let by_stack = [Op::Pressure(true), Op::Send(CLIENT, 10), Op::FinishSend(CLIENT), Op::Pressure(false)];
        let [_, after] = around_close(pairing, form, Connect::plain(), &by_stack);
        assert_eq!(after & OURS, ours, "{pairing:?}, {}", form.name());
    });
}
