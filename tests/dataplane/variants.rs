//! Every variant of our programs: the simulator's verdict for each kernel, and the running kernel's on the same bytes.

use std::convert::Infallible;

use sidestep::agent::{Loaded, TierChoice, choose_tier, program_specs, watch};
use sidestep::dataplane::{
    Config, DataPlane, Direction, Hooks, KernelOffsets, Options, Pairing, Policy, Probation, Readers, Servers, Streams,
    Tier, TraceOffsets, TrustBy, Watch, build,
};
use sidestep::verifier_sim::spec::{self, Kernel};
use sidestep::verifier_sim::types::KernelTypes;
use sidestep::verifier_sim::verify;

use crate::nested::{pairings, tiers};

/// No policy, and one with some of everything.
pub(crate) fn policies() -> [Policy; 2] {
    let ports = |text: &str| text.split(',').map(|range| range.parse().unwrap()).collect();
    let networks = |text: &str| text.split(',').map(|network| network.parse().unwrap()).collect();
    let some = Policy {
        ports: ports("80,443,1024-65535"),
        excluded_ports: ports("8080,9000-9100"),
        networks: networks("10.0.0.0/8,fd00::/8,2001:db8::1"),
        excluded_networks: networks("10.96.0.0/12,fe80::/10"),
        direction: Direction::ToActive,
        opt_out: true,
        ..Policy::default()
    };
    [Policy::default(), some]
}

/// The variants with these pairings, with the running kernel's offsets, each without and with a policy, and with each of these
/// ways to watch readers.
fn variants(pairings: &[Pairing], watches: &[Watch]) -> Vec<DataPlane> {
    let (Tier::Gated(offsets), _) = choose_tier(TierChoice::Gated).unwrap() else { panic!("asked for the gated tier") };
    // As on kernels without bpf_rdonly_cast, and without readers that can be woken; the same again where this one is such.
    let probing = KernelOffsets { casts: None, ..offsets };
    let silent = KernelOffsets { readers_can_be_woken: false, ..probing };
    let options = [offsets, probing, silent].map(Options::all).concat().into_iter();
    let options = options.filter(|options| pairings.contains(&options.pairing));
    let with_policy = |options: &Options, policy| Options { policy, ..options.clone() };
    let options = options.flat_map(|options| {
        let mut all = policies().map(|policy| with_policy(&options, policy)).to_vec();
        if options.tier != Tier::Sticky && options.readers == Readers::NonBlocking {
            let stays = [Streams::Stay, Streams::Auto].map(|streams| Policy { streams, ..Policy::default() });
            all.extend(stays.map(|policy| with_policy(&options, policy)));
        }
        if options.tier != Tier::Sticky && options.readers == Readers::NonBlocking {
            for by in watches.iter().map(|watch| TrustBy::Watching(*watch)).chain([TrustBy::Name]) {
                let mut policy = Policy::default();
                (policy.trust.by, policy.trust.cgroups) = (by, true);
                policy.trust.ports = policies()[1].ports.clone();
                policy.servers =
                    Servers { ports: policies()[1].ports.clone(), networks: policies()[1].networks.clone() };
                all.push(with_policy(&options, policy.clone()));
                if policy.trust.watch().is_some() && options.pairing == Pairing::Sequence {
                    all.push(with_policy(&options, Policy { spares_short: true, ..policy }));
                }
            }
        }
        all
    });
    options.map(|options| build(options).unwrap()).collect()
}

/// Whether the sock_ops program asks for the cookie of a network namespace.
fn needs_netns_cookie(options: &Options) -> bool {
    options.pairing == Pairing::FourTuple || options.tier == Tier::Sticky || options.policy.spares_short
}

#[test]
fn the_simulator_accepts_every_variant_its_kernel_has_the_helpers_for() {
    let types = std::fs::read("/sys/kernel/btf/vmlinux").ok().and_then(|data| KernelTypes::parse(data).ok());
    let types: Option<&'static KernelTypes> = types.map(|types| &*Box::leak(Box::new(types)));
    // Where the fields lie that the other programs trace decides nothing here.
    let Ok(traced) = TraceOffsets::resolve(|_| Ok::<_, Infallible>(0));
    let watches = Watch::all(Hooks::Functions { flags: 3, arguments: 5 }, traced);
    for plane in variants(&[Pairing::Sequence, Pairing::FourTuple], &watches) {
        // On arm64 the programs have atomic operations that fetch, which came with 5.12.
        let fetches = matches!(plane.options.tier, Tier::Gated(KernelOffsets { weakly_ordered: true, .. }));
        for kernel in Kernel::ALL.into_iter().filter(|kernel| *kernel != Kernel::V5_10 || !fetches) {
            for program in program_specs(&plane).unwrap() {
                let options = spec::Options { kernel, types, ..spec::Options::default() };
                let verdict = verify(&program, &options);
                // bpf_get_netns_cookie came to sock_ops in 5.15.
                let missing =
                    kernel == Kernel::V5_10 && needs_netns_cookie(&plane.options) && program.name == "sock_ops";
                if matches!(plane.options.tier, Tier::Gated(KernelOffsets { casts: Some(_), .. })) {
                    // bpf_rdonly_cast came in 6.2; opt_out does not call it.
                    let accepted = verdict.is_accept();
                    assert!(accepted || kernel < Kernel::V6_12, "{} on {kernel}: {verdict:?}", program.name);
                    continue;
                }
                let accepted = verdict.is_accept();
                assert_eq!(accepted, !missing, "{} ({}) on {kernel}: {verdict:?}", program.name, plane.options);
            }
        }
    }
}

#[test]
fn the_running_kernel_accepts_every_variant() {
    assert!(nix::unistd::geteuid().is_root(), "NOT TESTED: loading programs needs root");
    let sticky = tiers().contains(&TierChoice::Sticky);
    let watches: Vec<_> =
        [Probation::Inside, Probation::Outside].into_iter().filter_map(|where_to| watch(where_to).ok()).collect();
    // Four-tuple pairing takes the same helper.
    let has_cookie = pairings().contains(&Pairing::FourTuple);
    let is_possible = |plane: &DataPlane| {
        (sticky || plane.options.tier != Tier::Sticky) && (has_cookie || !plane.options.policy.spares_short)
    };
    for plane in variants(&pairings(), &watches).into_iter().filter(is_possible) {
        let loaded = Loaded::new(&plane, Config::default());
        assert!(loaded.is_ok(), "{}: {}", plane.options, loaded.err().unwrap());
    }
}
