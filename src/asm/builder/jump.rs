//! Jumps, calls and exit (RFC 9669, section 4.3).

use super::{Asm, Item, Label};
use crate::asm::opcode as op;
use crate::asm::{Cond, Helper, Insn, Operand, Reg};

impl Asm {
    /// Jumps to the label if `dst cond operand` holds on 64 bits.
    #[track_caller]
    pub fn jump(&mut self, cond: Cond, dst: Reg, operand: impl Into<Operand>, label: Label) {
        self.emit_jump(op::JMP, cond, dst, operand.into(), label);
    }

    /// Jumps to the label if `dst cond operand` holds on the lower 32 bits.
    #[track_caller]
    pub fn jump32(&mut self, cond: Cond, dst: Reg, operand: impl Into<Operand>, label: Label) {
        self.emit_jump(op::JMP32, cond, dst, operand.into(), label);
    }

    #[track_caller]
    #[cold]
    fn emit_jump(&mut self, class: u8, cond: Cond, dst: Reg, operand: Operand, label: Label) {
        let (source, src, imm) = operand.parts();
        self.emit(Item::Jump(Insn { code: class | source | cond.code(), dst: dst.number(), src, off: 0, imm }, label));
    }

    /// Jumps to the label. When a 16-bit offset does not reach, it becomes `gotol`, or, without [`Features::GOTOL`],
    /// goes by way of other `goto`s; so do all jumps.
    ///
    /// [`Features::GOTOL`]: crate::asm::Features::GOTOL
    #[track_caller]
    pub fn goto(&mut self, label: Label) {
        self.emit(Item::Jump(Insn { code: op::JMP | op::JA, ..Insn::default() }, label));
    }

    /// Jumps to the label when the kernel's loop budget is used up, else goes on.
    #[track_caller]
    pub fn may_goto(&mut self, label: Label) {
        self.emit(Item::Jump(Insn { code: op::JMP | op::JCOND, ..Insn::default() }, label));
    }

    /// Calls a helper, by its number (`enum bpf_func_id`) or as a [`Helper`].
    #[track_caller]
    pub fn call(&mut self, helper: impl Into<Helper>) {
        let Helper { id, arguments } = helper.into();
        self.emit(Item::Helper(Insn { code: op::JMP | op::CALL, imm: id, ..Insn::default() }, arguments));
    }

    /// Calls the kernel function with this BTF id; `fd_idx` is 0 for vmlinux, else the module's index in `fd_array`.
    #[track_caller]
    pub fn call_kfunc(&mut self, btf_id: i32, fd_idx: i16) {
        let code = op::JMP | op::CALL;
        self.emit(Item::Plain(Insn { code, dst: 0, src: op::PSEUDO_KFUNC_CALL, off: fd_idx, imm: btf_id }));
    }

    /// Calls the subprogram at the label.
    #[track_caller]
    pub fn call_sub(&mut self, label: Label) {
        self.emit(Item::Call(Insn { code: op::JMP | op::CALL, src: op::PSEUDO_CALL, ..Insn::default() }, label));
    }

    /// Returns `r0`.
    #[track_caller]
    pub fn exit(&mut self) {
        self.emit(Item::Plain(Insn { code: op::JMP | op::EXIT, ..Insn::default() }));
    }
}
