//! A place in a line, and the small things that can be read there.

use std::ops::RangeInclusive;

use super::ParseError;
use crate::asm::Reg;

/// A place in one line of text. Spaces before anything read are skipped.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    line: &'a str,
    rest: &'a str,
    number: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(line: &'a str, number: usize) -> Self {
        Self { line, rest: line.trim_start(), number }
    }

    /// The error that stands at this place.
    pub(super) fn error(&self, problem: String, example: &'static str) -> ParseError {
        let before = self.line.len() - self.rest.len();
        let column = self.line.get(..before).map_or(0, |text| text.chars().count()) + 1;
        ParseError { line: self.number, column, problem, example }
    }

    pub(super) fn at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Skips the token if it is next.
    pub(super) fn accept(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    /// Skips the token, which must be next.
    pub(super) fn expect(&mut self, token: &'static str, example: &'static str) -> Result<(), ParseError> {
        if self.accept(token) { Ok(()) } else { Err(self.error(format!("expected `{token}`"), example)) }
    }

    /// Takes the longest run of characters of this kind.
    pub(super) fn take(&mut self, kind: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !kind(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        taken
    }

    /// Whether a slot number with its colon is next.
    pub(super) fn digits_before_colon(&self) -> bool {
        let after = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        after.len() < self.rest.len() && after.starts_with(':')
    }

    /// Two hex digits that stand alone, if they are next.
    pub(super) fn hex_byte(&mut self) -> Option<u8> {
        let mut ahead = self.clone();
        let digits = ahead.take(|c| c.is_ascii_alphanumeric());
        let byte = u8::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 2)?;
        *self = ahead;
        Some(byte)
    }

    /// `(07)`, if an opening parenthesis is next.
    pub(super) fn opcode(&mut self) -> Result<Option<u8>, ParseError> {
        let start = self.clone();
        if !self.accept("(") {
            return Ok(None);
        }
        let digits = self.take(|c| c.is_ascii_hexdigit());
        let opcode = u8::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 2 && self.accept(")"));
        opcode.map(Some).ok_or_else(|| start.error("an opcode is two hex digits in parentheses".into(), "`(95) exit`"))
    }

    pub(super) fn unsigned(&mut self) -> Result<u64, ParseError> {
        let start = self.clone();
        let hex = self.accept("0x");
        let digits = self.take(|c| c.is_ascii_hexdigit() && (hex || c.is_ascii_digit()));
        let number = u64::from_str_radix(digits, if hex { 16 } else { 10 });
        number.map_err(|_| start.error("expected a number of at most 64 bits".into(), "`8` or `0x8`"))
    }

    /// A number with or without a sign.
    pub(super) fn signed(&mut self, range: RangeInclusive<i64>) -> Result<i64, ParseError> {
        let start = self.clone();
        let negative = self.accept("-");
        if !negative {
            self.accept("+");
        }
        let magnitude = i128::from(self.unsigned()?);
        let number = i64::try_from(if negative { -magnitude } else { magnitude }).ok().filter(|n| range.contains(n));
        number.ok_or_else(|| {
            start.error(format!("expected a number between {} and {}", range.start(), range.end()), "`8` or `-8`")
        })
    }

    /// A 16-bit offset or jump distance.
    pub(super) fn offset(&mut self) -> Result<i16, ParseError> {
        self.signed(i64::from(i16::MIN)..=i64::from(i16::MAX)).map(|number| number as i16)
    }

    /// A 32-bit immediate; hex digits mean the bits, so `0xffffffff` is -1.
    pub(super) fn imm(&mut self) -> Result<i32, ParseError> {
        let most = if self.rest.starts_with("0x") { i64::from(u32::MAX) } else { i64::from(i32::MAX) };
        self.signed(i64::from(i32::MIN)..=most).map(|number| number as i32)
    }

    /// Whether a register of this kind (`r` or `w`) is next, valid or not.
    pub(super) fn sees_reg(&self, kind: char) -> bool {
        let after = self.rest.strip_prefix(kind);
        after.is_some_and(|after| after.starts_with(|c: char| c.is_ascii_digit()))
    }

    /// A register of this kind: `r` names 64 bits, `w` the lower 32.
    pub(super) fn reg(&mut self, kind: char) -> Result<u8, ParseError> {
        let start = self.clone();
        let word = self.take(|c| c.is_ascii_alphanumeric());
        let digits = word.strip_prefix(kind).filter(|digits| !digits.starts_with('0') || digits.len() == 1);
        let reg = digits.and_then(|digits| digits.parse().ok()).and_then(Reg::from_number);
        reg.map(Reg::number).ok_or_else(|| {
            let example = if kind == 'w' { "`w0` to `w10`" } else { "`r0` to `r10`" };
            start.error("expected a register".into(), example)
        })
    }

    /// This very register, which the text repeats.
    pub(super) fn same_reg(&mut self, kind: char, reg: u8) -> Result<(), ParseError> {
        let start = self.clone();
        if self.reg(kind)? == reg {
            return Ok(());
        }
        Err(start.error(format!("the instruction works on one register, here must be {kind}{reg}"), "`r1 = be16 r1`"))
    }
}
