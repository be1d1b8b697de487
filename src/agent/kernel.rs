//! What this kernel and this process allow: the tier.

use super::error::{Doing, Error, Result};
use crate::dataplane::{KernelOffsets, Tier};
use crate::syscall::caps::{Capabilities, Capability};
use crate::syscall::sysctl::{self, Lockdown};
use crate::syscall::{self, Btf};

/// Which tier to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TierChoice {
    /// Gated where possible, sticky elsewhere.
    #[default]
    Auto,
    /// Gated, or an error that says why not.
    Gated,
    /// Sticky.
    Sticky,
}

/// The tier for `choice`, and for [`TierChoice::Auto`] why it is not the gated one.
pub fn choose_tier(choice: TierChoice) -> Result<(Tier, Option<String>)> {
    let gated = match choice {
        TierChoice::Sticky => return Ok((Tier::Sticky, None)),
        TierChoice::Auto | TierChoice::Gated => gated(),
    };
    match (gated, choice) {
        (Ok(offsets), _) => Ok((Tier::Gated(offsets), None)),
        (Err(why), TierChoice::Auto) => Ok((Tier::Sticky, Some(why))),
        (Err(why), _) => Err(Error::Unsupported {
            what: "the gated tier cannot be used",
            why,
            remedy: "leave out --tier to use what there is",
        }),
    }
}

/// The offsets the gate needs, or why the gate cannot work here.
fn gated() -> std::result::Result<KernelOffsets, String> {
    let text = |error: syscall::Error| error.to_string();
    if !Capabilities::effective().map_err(text)?.grants(Capability::Perfmon) {
        return Err("CAP_PERFMON is missing, and bpf_probe_read_kernel needs it".into());
    }
    if sysctl::lockdown().map_err(text)? == Some(Lockdown::Confidentiality) {
        return Err("the kernel is locked down for confidentiality, which forbids bpf_probe_read_kernel".into());
    }
    kernel_offsets().map_err(|error| error.to_string())
}

/// Reads the offsets of [`crate::dataplane::FIELDS`] from `/sys/kernel/btf/vmlinux`.
pub fn kernel_offsets() -> Result<KernelOffsets> {
    let btf = Btf::vmlinux().doing("read the kernel's BTF")?;
    KernelOffsets::resolve(|wanted| {
        let field = btf.field(wanted.structure, wanted.path).doing("find a field in the kernel's BTF")?;
        // A field of another size would be read wrongly; only the head of a list is longer than what is read of it.
        let fits = field.size() == u32::from(wanted.size) || wanted.path == "ingress_msg";
        match u16::try_from(field.offset()) {
            Ok(offset) if fits => Ok(offset),
            _ => Err(Error::Unsupported {
                what: "the gate does not know this kernel",
                why: format!(
                    "{}.{} is at byte {} and {} bytes long, where {} bytes were expected",
                    wanted.structure,
                    wanted.path,
                    field.offset(),
                    field.size(),
                    wanted.size
                ),
                remedy: "use --tier sticky and report the kernel version",
            }),
        }
    })
}
