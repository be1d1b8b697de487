//! Structured flow: blocks, conditions and named checks, on top of labels and jumps.

use std::panic::Location;

use super::{Asm, CheckState, Label};
use crate::asm::Test;

impl Asm {
    /// Emits `body`, which may jump to its end by the label it is given.
    ///
    /// ```
    /// use sidestep::asm::{Asm, Reg::*};
    ///
    /// let mut a = Asm::new();
    /// a.mov(R0, 0);
    /// a.block("found", |a, end| {
    ///     a.jump_if(R1.equals(7), end);
    ///     a.mov(R0, 1);
    /// });
    /// a.exit();
    /// assert_eq!(a.finish()?.label_at(3), Some("found"));
    /// # Ok::<(), sidestep::asm::Error>(())
    /// ```
    #[track_caller]
    pub fn block<R>(&mut self, name: impl AsRef<str>, body: impl FnOnce(&mut Self, Label) -> R) -> R {
        let end = self.label(name);
        let result = body(self, end);
        self.bind(end);
        result
    }

    /// Jumps to the label if the test holds.
    #[track_caller]
    pub fn jump_if(&mut self, test: Test, label: Label) {
        if test.negated {
            // The instruction set has no jump for it.
            let past = self.label("past");
            self.jump_on(test, past);
            self.goto(label);
            self.bind(past);
        } else {
            self.jump_on(test, label);
        }
    }

    #[track_caller]
    fn jump_on(&mut self, Test { reg, cond, operand, wide, .. }: Test, label: Label) {
        if wide {
            self.jump(cond, reg, operand, label);
        } else {
            self.jump32(cond, reg, operand, label);
        }
    }

    /// Emits `body`, which runs only if the test holds.
    ///
    /// ```
    /// use sidestep::asm::{Asm, Reg::*};
    ///
    /// let mut a = Asm::new();
    /// a.if_(R1.above(7), |a| a.mov(R1, 7));
    /// a.mov(R0, R1);
    /// a.exit();
    ///
    /// let mut b = Asm::new();
    /// let end = b.label("end");
    /// b.jump_if(R1.at_most(7), end);
    /// b.mov(R1, 7);
    /// b.bind(end);
    /// b.mov(R0, R1);
    /// b.exit();
    /// assert_eq!(a.finish()?.insns(), b.finish()?.insns());
    /// # Ok::<(), sidestep::asm::Error>(())
    /// ```
    #[track_caller]
    pub fn if_<R>(&mut self, test: Test, body: impl FnOnce(&mut Self) -> R) -> R {
        let end = self.label("end_if");
        self.jump_if(test.inverted(), end);
        let result = body(self);
        self.bind(end);
        result
    }

    /// Emits both bodies, of which the first runs if the test holds and the second if it does not.
    #[track_caller]
    pub fn if_else(&mut self, test: Test, then: impl FnOnce(&mut Self), otherwise: impl FnOnce(&mut Self)) {
        let [other, end] = ["else", "end_if"].map(|name| self.label(name));
        self.jump_if(test.inverted(), other);
        then(self);
        self.goto(end);
        self.bind(other);
        otherwise(self);
        self.bind(end);
    }

    /// A named check: goes on if the test holds, else to `exit`. Dropped ([`Program::without`]), it always goes on.
    ///
    /// [`Program::without`]: crate::asm::Program::without
    #[track_caller]
    pub fn require(&mut self, test: Test, exit: Label, name: &str) {
        self.checked(name, exit, false, |a| a.jump_if(test.inverted(), exit));
    }

    /// A named check: goes to `granted` if the test holds, past what would refuse, else on. Dropped, it always goes to
    /// `granted`.
    #[track_caller]
    pub fn permit(&mut self, test: Test, granted: Label, name: &str) {
        if test.negated {
            self.invalid(
                "`none_of` cannot permit: it has no jump of its own".into(),
                "permit the opposite of another test",
            );
        }
        self.checked(name, granted, true, |a| a.jump_on(test, granted));
    }

    /// A named check: `body` runs only if the test holds. Dropped, it never runs.
    #[track_caller]
    pub fn guard<R>(&mut self, test: Test, name: &str, body: impl FnOnce(&mut Self) -> R) -> R {
        let end = self.end_of_guard(test, name);
        let result = body(self);
        self.bind(end);
        result
    }

    #[track_caller]
    #[cold]
    fn end_of_guard(&mut self, test: Test, name: &str) -> Label {
        let end = self.label("end_guard");
        let unless = test.inverted();
        if unless.negated {
            self.invalid(
                "`any_of` cannot guard: it has no inverse".into(),
                "keep the bits with and() and ask whether any is left",
            );
        }
        self.checked(name, end, true, |a| a.jump_on(unless, end));
        end
    }

    #[track_caller]
    fn checked(&mut self, name: &str, label: Label, jumps: bool, emit: impl FnOnce(&mut Self)) {
        let line = Location::caller();
        let at = self.inlined.unwrap_or(line);
        let name = self.path(name);
        let start = self.items.len();
        // Not the line of the closure, which is in this file.
        let outer = self.line.replace(line);
        emit(self);
        self.line = outer;
        let items = (start..self.items.len()).collect();
        self.checks.push(CheckState { name, items, label, at, jumps });
    }
}
