//! The data plane as the verifier simulator takes it: what would be loaded, without a kernel to load it into.

use crate::asm::{self, Field};
use crate::dataplane::{
    AdoptionFields, BufferLocks, DataPlane, EpollFields, Hooks, KernelField, KernelOffsets, MemberFields, MemoryLimit,
    TraceOffsets,
};
use crate::uapi::AttachType;
use crate::verifier_sim::kernel::{buffer_locks, offset_of};
use crate::verifier_sim::spec::{MapLoad, MapSpec, Origin, ProgType, ProgramSpec};

/// The sock_ops and the sk_msg program, its dispatcher, and the one of cgroups that opt out if there is one, each
/// with all maps; every slot knows the line of Rust that emitted it.
///
/// [`tracing_specs`] has the others.
pub fn program_specs(plane: &DataPlane) -> Result<Vec<ProgramSpec>, asm::Error> {
    let others = plane.programs().filter(|(_, prog_type, _)| *prog_type != ProgType::TRACING);
    others.map(|(name, prog_type, program)| spec(plane, name, prog_type, program)).collect()
}

/// The drain, and the programs that watch readers where the data plane has them. Judging them takes the types of a kernel. The
/// tally is not among them: the simulator does not know its iterator.
pub fn tracing_specs(plane: &DataPlane) -> Result<Vec<ProgramSpec>, asm::Error> {
    let (receives, splices) = match plane.options.policy.trust.watch().map(|watch| watch.hooks) {
        Some(Hooks::Functions { .. }) => {
            ((AttachType::TRACE_FEXIT, "tcp_bpf_recvmsg"), (AttachType::TRACE_FENTRY, "tcp_splice_read"))
        }
        Some(Hooks::Mixed) => {
            ((AttachType::TRACE_RAW_TP, "sock_recv_length"), (AttachType::TRACE_FENTRY, "tcp_splice_read"))
        }
        _ => ((AttachType::TRACE_RAW_TP, "sock_recv_length"), (AttachType::TRACE_RAW_TP, "sys_enter")),
    };
    let drain = (AttachType::TRACE_ITER, "sockmap");
    let tracing = plane.programs().filter(|(name, prog_type, _)| *prog_type == ProgType::TRACING && *name != "tally");
    tracing
        .map(|(name, prog_type, program)| {
            let (attach, target) = match name {
                "drain" => drain,
                "receives" => receives,
                _ => splices,
            };
            let mut spec = spec(plane, name, prog_type, program)?;
            spec.expected_attach_type = attach.number();
            spec.attach_target = Some(target.to_owned());
            Ok(spec)
        })
        .collect()
}

fn spec(plane: &DataPlane, name: &str, prog_type: ProgType, program: &asm::Program) -> Result<ProgramSpec, asm::Error> {
    Ok(ProgramSpec {
        name: name.to_owned(),
        prog_type,
        insns: program.resolve(|map| Some(map.0 as i32))?,
        maps: map_specs(plane),
        map_loads: map_loads(program),
        origins: (0..program.insns().len()).map(|slot| origin(program, slot)).collect(),
        ..ProgramSpec::default()
    })
}

/// The maps, in the order of their [`asm::MapRef`] numbers.
pub fn map_specs(plane: &DataPlane) -> Vec<MapSpec> {
    let spec = |map: &crate::dataplane::MapDef| MapSpec {
        name: map.role.name().to_owned(),
        map_type: map.kind.map_type(),
        key_size: map.key_size,
        value_size: map.value_size,
        max_entries: map.max_entries,
        map_flags: map.flags,
        ..MapSpec::default()
    };
    plane.maps.iter().map(spec).collect()
}

/// Which slots load which map.
pub fn map_loads(program: &asm::Program) -> Vec<MapLoad> {
    program.maps().iter().map(|&(insn, map)| MapLoad { insn, map: map.0 as usize }).collect()
}

fn origin(program: &asm::Program, slot: usize) -> Option<Origin> {
    program.origin(slot).map(|at| Origin { file: at.file(), line: at.line() })
}

/// Offsets for the gated tier where there is no kernel to take them from: those of the simulated one, with its epoll
/// instances, memory groups and locks of buffers. Direct loads are left out: they need the types of a kernel.
///
/// # Errors
///
/// The path of a field that the simulated kernel does not have.
pub fn simulated_offsets() -> Result<KernelOffsets, &'static str> {
    let at = |field: &KernelField| offset_of(field.structure, field.path).ok_or(field.path);
    let (byte, shift) = buffer_locks();
    Ok(KernelOffsets {
        buffer_locks: Some(BufferLocks { byte: Field::new(byte.into()), shift }),
        epoll: Some(EpollFields::resolve(at)?),
        memory_limit: Some(MemoryLimit::resolve(true, at)?),
        ..KernelOffsets::resolve(at)?
    })
}

/// Offsets for the programs that watch readers, in the simulated kernel.
///
/// # Errors
///
/// As [`simulated_offsets`].
pub fn simulated_trace_offsets() -> Result<TraceOffsets, &'static str> {
    TraceOffsets::resolve(|field| offset_of(field.structure, field.path).ok_or(field.path))
}

/// Fields for the programs that list and mark sockets, in the simulated kernel.
///
/// # Errors
///
/// As [`simulated_offsets`].
pub fn simulated_member_fields() -> Result<MemberFields, &'static str> {
    MemberFields::resolve(|field| offset_of(field.structure, field.path).ok_or(field.path))
}

/// Fields for the program that adopts connections, in the simulated kernel.
///
/// # Errors
///
/// As [`simulated_offsets`].
pub fn simulated_adoption_fields() -> Result<AdoptionFields, &'static str> {
    AdoptionFields::resolve(|field| offset_of(field.structure, field.path).ok_or(field.path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asm::{Asm, Cond, Features, Reg, Size};
    use crate::dataplane::{Hooks, Options, Policy, PortRange, Trust, TrustBy, Watch, build};
    use crate::verifier_sim::spec::Options as Settings;
    use crate::verifier_sim::verify;

    #[test]
    fn the_simulated_kernel_has_every_field_and_each_in_its_own_place() {
        let offsets = simulated_offsets().unwrap();
        assert_ne!(offsets.copied_seq, offsets.write_seq);
    }

    #[test]
    fn every_variant_is_accepted() {
        let offsets = TraceOffsets::resolve(|_| Ok::<_, ()>(0)).unwrap();
        let watching = Watch::all(Hooks::Functions { flags: 3, arguments: 5 }, offsets).map(TrustBy::Watching);
        let by = [TrustBy::Default, TrustBy::Name].into_iter().chain(watching);
        let ports = [vec![], vec![PortRange { first: 80, last: 90 }]];
        let trusts = by.flat_map(|by| {
            let of = |cgroups| ports.clone().map(|ports| Trust { by, ports, cgroups, programs: vec![] });
            [of(false), of(true)].concat()
        });
        let all = Options::all(simulated_offsets().unwrap());
        let all = trusts.flat_map(|trust| {
            let policy = Policy { trust, ..Policy::default() };
            all.iter().map(move |options| Options { policy: policy.clone(), ..options.clone() }).collect::<Vec<_>>()
        });
        for options in all {
            let mut uncounted = options.clone();
            uncounted.policy.uncounted = true;
            let mut sparing = options.clone();
            sparing.policy.spares_short = true;
            let specs =
                [options.clone(), uncounted, sparing].map(|options| program_specs(&build(options).unwrap()).unwrap());
            for spec in specs.concat() {
                let verdict = verify(&spec, &Settings::default());
                assert!(verdict.is_accept(), "{options:?} {}: {}", spec.name, verdict.reason());
            }
        }
    }

    #[test]
    fn a_rejection_names_the_line_that_emitted_the_instruction() {
        let mut a = Asm::with_features(Features::LINUX_5_10);
        let out = a.label("out");
        a.jump(Cond::Eq, Reg::R1, 0, out);
        let line = line!() + 1;
        a.load(Size::DW, Reg::R0, Reg::R3, 0);
        a.bind(out);
        a.mov(Reg::R0, 1);
        a.exit();
        let mut plane = build(Options::all(simulated_offsets().unwrap()).remove(0)).unwrap();
        plane.sk_msg = a.finish().unwrap();
        let specs = program_specs(&plane).unwrap();
        let verdict = verify(&specs[1], &Settings::default());
        let rejection = verdict.rejection().unwrap();
        assert_eq!(rejection.origin, Some(Origin { file: file!(), line }));
        assert!(rejection.to_string().ends_with(&format!("(emitted at {}:{line})", file!())), "{rejection}");
    }
}
