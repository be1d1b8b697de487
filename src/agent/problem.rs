//! What is wrong with an attached data plane, and what else uses the same hooks.
//!
//! None of it loses a byte: connections stay in the sockhash or on the stack. But acceleration ends or fades, and the
//! operator should know. One list serves data planes that are pinned and those that a process holds.

use std::fmt;
use std::path::PathBuf;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::uapi::ProgType;

/// Something that is not as it was attached. Its text is a sentence with a remedy where there is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// rmdir(2) was called on the cgroup.
    #[error(
        "the cgroup was removed, so no new connection can be accelerated; `sidestep detach --all` removes what is left"
    )]
    CgroupRemoved,
    /// BPF_LINK_DETACH on the cgroup link.
    #[error(
        "another program detached the sock_ops program from the cgroup: new connections stay plain TCP; attach again"
    )]
    SockOpsDetached,
    /// BPF_LINK_UPDATE on the cgroup link.
    #[error(
        "another tool replaced the sock_ops program by program {0}: new connections stay plain TCP; detach, and attach again"
    )]
    SockOpsReplaced(u32),
    /// The program is attached more or less often than once.
    #[error("program {program} is attached {times} times to {}; detach, and attach again", cgroup.display())]
    SockOpsCount {
        /// Our sock_ops program.
        program: u32,
        /// How often it is attached.
        times: usize,
        /// To this cgroup.
        cgroup: PathBuf,
    },
    /// BPF_LINK_DETACH or BPF_PROG_DETACH on the sockhash.
    #[error(
        "another program detached the sk_msg program from the sockhash: new connections stay on the stack; detach, and attach again"
    )]
    SkMsgDetached,
    /// BPF_LINK_UPDATE or BPF_PROG_ATTACH on the sockhash.
    #[error(
        "another tool replaced the sk_msg program by program {0}, which decides about new connections; detach, and attach again"
    )]
    SkMsgReplaced(u32),
    /// The dispatcher calls another program than the one that is pinned.
    #[error("the dispatcher of {generation} calls program {found:?} instead of {expected:?}; upgrade, or attach again")]
    WrongProgram {
        /// The generation.
        generation: String,
        /// What the array of programs holds.
        found: Option<u32>,
        /// What is pinned.
        expected: Option<u32>,
    },
    /// The soft switch is off although the generation is live.
    #[error("the soft switch is off: every message takes the stack; upgrade, or attach again")]
    SwitchedOff,
    /// A pin was removed.
    #[error("the pin {} is missing; detach, and attach again", .0.display())]
    PinMissing(PathBuf),
    /// Another command is changing the instance.
    #[error("a change is under way, so this is the view of a moment")]
    Changing,
    /// A command was killed before its end.
    #[error("a change was cut short; the next attach, upgrade, run or detach completes or undoes it")]
    Interrupted,
    /// Pins without a link.
    #[error("nothing is attached, but some pins are left; detach again")]
    Leftovers,
    /// A program that is not pinned with the instance uses one of its maps.
    #[error("program {program} ({name}) uses map {map} and is not pinned with it")]
    ForeignUser {
        /// The program.
        program: u32,
        /// Its name.
        name: String,
        /// Our map.
        map: u32,
    },
    /// A link that is not ours holds one of our programs.
    #[error("link {link} holds our program {program} and is not pinned with it")]
    ForeignLink {
        /// The link.
        link: u32,
        /// Our program.
        program: u32,
    },
    /// A pinned program is not among the kernel's.
    #[error("program {program} ({name}) is pinned, but the kernel does not list it")]
    NotListed {
        /// The program.
        program: u32,
        /// The name of its pin.
        name: String,
    },
    /// The sockhash has room for few more sockets, or for none.
    #[error(
        "the sockhash holds {members} of at most {capacity} sockets, and all cgroups below share it: sockets that do not \
         fit stay plain TCP; give it more room (`sidestep upgrade` with --max-connections), or exclude the cgroup that opens the most \
         connections (--exclude-cgroup)"
    )]
    SockhashFull {
        /// Sockets in it.
        members: usize,
        /// Its size.
        capacity: u32,
    },
    /// Pins of a version that arranges them differently.
    #[error(
        "{} has pins of an older sidestep, which this one cannot take over; detach them with that version, or remove the \
         directory and its pins: its connections then use the stack", .0.display()
    )]
    OlderPins(PathBuf),
    /// It could not be looked at.
    #[error("{0}")]
    NotKnown(String),
}

impl Problem {
    /// A word for programs: it stays the same when the sentence changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::CgroupRemoved => "cgroup_removed",
            Self::SockOpsDetached => "sock_ops_detached",
            Self::SockOpsReplaced(_) => "sock_ops_replaced",
            Self::SockOpsCount { .. } => "sock_ops_count",
            Self::SkMsgDetached => "sk_msg_detached",
            Self::SkMsgReplaced(_) => "sk_msg_replaced",
            Self::WrongProgram { .. } => "wrong_program",
            Self::SwitchedOff => "switched_off",
            Self::PinMissing(_) => "pin_missing",
            Self::Changing => "changing",
            Self::Interrupted => "interrupted",
            Self::Leftovers => "leftovers",
            Self::ForeignUser { .. } => "foreign_user",
            Self::ForeignLink { .. } => "foreign_link",
            Self::NotListed { .. } => "not_listed",
            Self::SockhashFull { .. } => "sockhash_full",
            Self::OlderPins(_) => "older_pins",
            Self::NotKnown(_) => "not_known",
        }
    }

    /// Whether a healthy instance shows this for a moment: while a command works, or the kernel frees what was replaced.
    pub(super) fn may_be_of_a_moment(&self) -> bool {
        matches!(
            self,
            Self::Changing
                | Self::Interrupted
                | Self::PinMissing { .. }
                | Self::WrongProgram { .. }
                | Self::SockOpsReplaced { .. }
                | Self::ForeignUser { .. }
                | Self::ForeignLink { .. }
                | Self::NotListed { .. }
        )
    }

    /// Whether so many sockets leave little room: four fifths of it are in use.
    pub(super) fn of_members(members: usize, capacity: u32) -> Option<Self> {
        (5 * members >= 4 * capacity as usize).then_some(Self::SockhashFull { members, capacity })
    }
}

impl Serialize for Problem {
    /// `{"code": ..., "text": ...}`
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Problem", 2)?;
        object.serialize_field("code", self.code())?;
        object.serialize_field("text", &self.to_string())?;
        object.end()
    }
}

/// A program of another tool that uses the hooks that sidestep uses.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Neighbour {
    /// The kernel's number of the program.
    pub program: u32,
    /// Its name.
    pub name: String,
    /// Its type by the kernel's name: `sock_ops`, `sk_msg` or `sk_skb`.
    #[serde(serialize_with = "by_name")]
    pub prog_type: ProgType,
    /// The cgroups it is linked to, by number.
    pub cgroups: Vec<u64>,
    /// The socket maps it is linked to, by number.
    pub socket_maps: Vec<u32>,
}

fn by_name<S: Serializer>(prog_type: &ProgType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(prog_type)
}

impl Neighbour {
    /// Whether programs of this type can meet ours on a socket.
    pub(super) fn is_of_interest(prog_type: ProgType) -> bool {
        matches!(prog_type, ProgType::SOCK_OPS | ProgType::SK_MSG | ProgType::SK_SKB)
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "program {} ({}, {}) of another tool", self.program, self.name, self.prog_type)?;
        for cgroup in &self.cgroups {
            write!(out, ", on cgroup {cgroup}")?;
        }
        for map in &self.socket_maps {
            write!(out, ", on socket map {map}")?;
        }
        match self.prog_type {
            ProgType::SOCK_OPS => out.write_str(
                ": if it sets the callback flags of a socket, sidestep sets its own again, and sends by the stack until then",
            ),
            _ => out.write_str(": a socket in its map and in sidestep's leaves sidestep's map only when its queue is empty"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_map_is_reported_from_four_fifths_on() {
        assert_eq!(Problem::of_members(51, 64), None);
        assert_eq!(Problem::of_members(52, 64), Some(Problem::SockhashFull { members: 52, capacity: 64 }));
        assert_eq!(Problem::of_members(0, 1), None);
        assert!(Problem::of_members(1, 1).is_some());
    }

    #[test]
    fn programs_get_a_code_and_people_a_sentence() {
        let json = serde_json::to_value(Problem::SkMsgReplaced(7)).unwrap();
        assert_eq!(json["code"], "sk_msg_replaced");
        assert!(json["text"].as_str().unwrap().contains("program 7"));
    }
}
