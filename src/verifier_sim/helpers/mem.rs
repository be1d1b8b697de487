//! Memory that helpers read and write (`check_helper_mem_access`, `check_mem_size_reg`).

use crate::verifier_sim::helpers::call::Call;
use crate::verifier_sim::instructions::mem::Direction;
use crate::verifier_sim::spec::Kernel;
use crate::verifier_sim::state::reg::{Flags, Kind, Reg};
use crate::verifier_sim::stop::{Step, reject};
use crate::verifier_sim::walk::env::Env;

/// Sizes must be below this (`BPF_MAX_VAR_SIZ`).
const MAX_SIZE: u64 = 1 << 29;

/// What a helper does with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) struct Use {
    pub(in crate::verifier_sim) direction: Direction,
    /// The helper initialises the memory, all of it.
    pub(in crate::verifier_sim) fills: bool,
    /// A size of zero is fine.
    pub(in crate::verifier_sim) zero_ok: bool,
}

impl Env<'_> {
    /// A helper uses `size` bytes at the pointer in register `number`.
    pub(in crate::verifier_sim) fn check_helper_memory(
        &mut self,
        number: u8,
        size: u32,
        how: Use,
        call: &mut Call,
    ) -> Step {
        let reg = *self.reg(number);
        let write = how.direction == Direction::Write;
        match reg.kind {
            Kind::Packet | Kind::PacketMeta => self.check_packet(number, &reg, reg.off, size, how.zero_ok),
            Kind::MapValue => {
                self.check_map_direction(&reg, reg.off, size, write)?;
                self.check_map_value(number, &reg, reg.off, size, how.zero_ok, false)
            }
            Kind::MapKey => {
                if write {
                    reject!("R{number} cannot write into {}", reg.type_name());
                }
                let size_of_key = self.map(reg.arg).spec.key_size;
                self.check_region(number, &reg, reg.off, size, size_of_key, false)
            }
            Kind::Mem => {
                if write && reg.flags.contains(Flags::RDONLY) {
                    reject!("R{number} cannot write into {}", reg.type_name());
                }
                self.check_region(number, &reg, reg.off, size, reg.arg, how.zero_ok)
            }
            Kind::Buf => {
                if write && reg.flags.contains(Flags::RDONLY) {
                    reject!("R{number} cannot write into {}", reg.type_name());
                }
                self.check_buffer(number, &reg, reg.off, size)
            }
            Kind::Stack => {
                if size == 0 && !how.zero_ok {
                    reject!("invalid zero-sized read");
                }
                // Before Linux 6.15 a helper was taken to write also what it is given to read.
                let direction = if self.kernel >= Kernel::V6_18 { how.direction } else { Direction::Write };
                self.check_stack_bounds(number, &reg, reg.off, i64::from(size), direction, true)?;
                let known = reg.val.bits.is_known();
                if !known && !self.may_leak_pointers() {
                    reject!(
                        "R{number} indirect variable offset stack access prohibited for !root, var_off={}",
                        reg.val.bits
                    );
                }
                if how.fills && known {
                    let (frame, min) = (reg.arg as usize, i64::from(reg.off) + reg.val.bits.value as i64);
                    if let Some(off) = self.find_dynptr(frame, min, min + i64::from(size)) {
                        reject!("potential write to dynptr at off={off} disallowed");
                    }
                    call.fills = Some((frame, min, size));
                    return Ok(());
                }
                self.check_stack_readable(number, &reg, reg.off, size, direction == Direction::Write)
            }
            Kind::BtfId => self.load_structure(number, &reg, reg.off, size).map(drop),
            _ if how.zero_ok && size == 0 && reg.is_null() => Ok(()),
            _ => reject!("R{number} type={} expected=fp", reg.type_name()),
        }
    }

    /// The size in register `number` belongs to the pointer in the register before it.
    pub(in crate::verifier_sim) fn check_sized_memory(&mut self, number: u8, how: Use, call: &mut Call) -> Step {
        let size: Reg = *self.reg(number);
        call.max_size = size.val.umax;
        if size.val.smin < 0 {
            reject!("R{number} min value is negative, either use unsigned or 'var &= const'");
        }
        if size.val.umin == 0 && !how.zero_ok {
            reject!("R{number} invalid zero-sized read: u64=[{},{}]", size.val.umin, size.val.umax);
        }
        if size.val.umax >= MAX_SIZE {
            reject!("R{number} unbounded memory access, use 'var &= const' or 'if (var < const)'");
        }
        // How much is filled is only known for a constant size.
        let fills = how.fills && size.val.bits.is_known();
        self.check_helper_memory(number - 1, size.val.umax as u32, Use { fills, ..how }, call)?;
        self.mark_precise(1 << number);
        Ok(())
    }
}
