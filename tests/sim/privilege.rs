//! Programs of a caller without CAP_PERFMON, or with CAP_BPF alone, are judged as the kernel judges them.

use std::thread;

use sidestep::verifier_sim::spec::{Options, Privilege, ProgType, ProgramSpec};
use sidestep::verifier_sim::verdict::Verdict;
use sidestep::verifier_sim::verify;

use crate::agreement::options;
use crate::kernel::{Oracle, available};
use crate::random;
use crate::random::sandbox::Random;
use crate::types::{places, program};

/// Capabilities that the calling thread keeps (include/uapi/linux/capability.h).
const CAP_NET_ADMIN: u32 = 12;
const CAP_BPF: u32 = 39;

/// Takes all capabilities from the calling thread apart from these: capset(2) with `_LINUX_CAPABILITY_VERSION_3`.
fn keep(capabilities: &[u32]) {
    let header: [u32; 2] = [0x2008_0522, 0];
    let set = capabilities.iter().fold(0_u64, |set, capability| set | 1 << capability);
    let (low, high) = (set as u32, (set >> 32) as u32);
    let sets = [low, low, 0, high, high, 0];
    // SAFETY: both structures live through the call and are only read; version 3 takes two records of three words.
    let answer = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    assert_eq!(answer, 0, "capset: {}", std::io::Error::last_os_error());
}

#[derive(Default)]
struct Seen {
    judged: u32,
    accepted: u32,
    unsupported: u32,
    differences: Vec<String>,
}

impl Seen {
    fn judge(&mut self, oracle: &Oracle, program: &ProgramSpec, options: &Options) {
        let ours = verify(program, options);
        if matches!(ours, Verdict::Unsupported(_)) {
            self.unsupported += 1;
            return;
        }
        let theirs = oracle.verdict(program);
        self.judged += 1;
        self.accepted += u32::from(theirs.is_ok());
        if ours.is_accept() != theirs.is_ok() {
            let log = theirs.as_ref().err().map_or("accepted", |log| &log[log.len().saturating_sub(300)..]);
            let (of, reason) = (program.prog_type, ours.reason());
            self.differences.push(format!("{of}: ours {} ({reason}), kernel: {log}", ours.word()));
        }
    }
}

/// Compares in a thread of its own, whose capabilities go. `SIM_COUNT=100` compares 100 times as many programs.
fn compare(test: &'static str, privilege: Privilege, capabilities: &'static [u32]) {
    if !available(test) {
        return;
    }
    let times: usize = std::env::var("SIM_COUNT").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let work = move || {
        let options = Options { privilege, ..options() };
        let (mine, typed) = (Oracle::new(random::maps), Oracle::new(program::maps));
        // Makes the maps, which takes more than CAP_BPF.
        let places: Vec<_> = places::places().into_iter().filter(|place| place.loads(&typed)).collect();
        for prog_type in [ProgType::SK_MSG, ProgType::SOCK_OPS] {
            let _ = mine.verdict(&random::program(prog_type, &[]));
        }
        keep(capabilities);
        let (mut seen, mut numbers) = (Seen::default(), Random::new(1));
        for _ in 0..400 * times {
            let choices: Vec<u32> = (0..numbers.next() as usize % 140).map(|_| numbers.next()).collect();
            let prog_type = if numbers.next() & 1 == 0 { ProgType::SK_MSG } else { ProgType::SOCK_OPS };
            seen.judge(&mine, &random::program(prog_type, &choices), &options);
        }
        for place in places {
            for _ in 0..20 * times {
                seen.judge(&typed, &program::random(&place, &mut numbers), &options);
            }
        }
        seen
    };
    let Seen { judged, accepted, unsupported, differences } = thread::spawn(work).join().unwrap();
    eprintln!("{judged} judged, {accepted} accepted, {unsupported} not judged, {} differ", differences.len());
    assert!(differences.is_empty(), "{}", differences.into_iter().take(20).collect::<Vec<_>>().join("\n"));
    assert!(accepted > 0 && judged > 5 * unsupported, "{accepted} of {judged} accepted, {unsupported} not judged");
}

#[test]
fn callers_without_perfmon_are_judged_as_the_kernel_judges_them() {
    let test = "callers_without_perfmon_are_judged_as_the_kernel_judges_them";
    compare(test, Privilege::NoPerfmon, &[CAP_NET_ADMIN, CAP_BPF]);
}

#[test]
fn callers_with_bpf_alone_are_judged_as_the_kernel_judges_them() {
    let test = "callers_with_bpf_alone_are_judged_as_the_kernel_judges_them";
    compare(test, Privilege::BpfOnly, &[CAP_BPF]);
}
