//! Rules for nf_tables, over netlink.
//!
//! All numbers are from include/uapi/linux/netfilter/nf_tables.h unless it says otherwise. Integers in attributes are
//! big-endian; data that is compared with a packet or a meta value is in that value's own byte order.

use std::net::IpAddr;

use super::Family;
use super::rules::{Chain, Match, Rule, Verdict};
use crate::testbed::Error;
use crate::testbed::netlink::{APPEND, CREATE, Message, Socket};

/// `NFNL_SUBSYS_NFTABLES`, include/uapi/linux/netfilter/nfnetlink.h.
const SUBSYSTEM: u16 = 10;
/// `NFNL_MSG_BATCH_BEGIN`: start of a transaction.
const BATCH_BEGIN: u16 = 16;
/// `NFNL_MSG_BATCH_END`.
const BATCH_END: u16 = 17;
/// `NFT_MSG_NEWTABLE`.
const NEWTABLE: u16 = 0;
/// `NFT_MSG_NEWCHAIN`.
const NEWCHAIN: u16 = 3;
/// `NFT_MSG_NEWRULE`.
const NEWRULE: u16 = 6;
/// `NFT_REG_VERDICT`.
const REG_VERDICT: u32 = 0;
/// `NFT_REG_1`: 16 bytes.
const REG_1: u32 = 1;
/// `NFT_RETURN`; at the end of a base chain its policy applies, which is to accept.
const RETURN: i32 = -5;
/// `NFT_CMP_EQ`.
const CMP_EQ: u32 = 0;
/// `NFT_CMP_NEQ`.
const CMP_NEQ: u32 = 1;
/// `NF_IP_PRI_NAT_DST` and `NF_IP6_PRI_NAT_DST`, include/uapi/linux/netfilter_ipv4.h, netfilter_ipv6.h.
const PRIORITY_DSTNAT: i32 = -100;
/// Name of the table.
const TABLE: &str = "sidestep";

/// The keys of `enum nft_meta_keys` in use.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Meta {
    OutputInterfaceName = 7,
    SocketUid = 10,
    SocketGid = 11,
    L4Protocol = 16,
}

/// `enum nft_payload_bases`.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Base {
    Network = 1,
    Transport = 2,
}

/// Installs the rules in one transaction, in the calling thread's namespace.
pub(super) fn install(family: Family, rules: &[Rule]) -> Result<(), Error> {
    let kind = |message: u16| SUBSYSTEM << 8 | message;
    let header = header(family, 0);
    let mut batch = vec![Message::new(BATCH_BEGIN, 0, &self::header(Family::V4, SUBSYSTEM))];
    // NFTA_TABLE_NAME 1
    batch.push(Message::new(kind(NEWTABLE), CREATE, &header).attr_str(1, TABLE));
    for chain in Chain::ALL {
        // NFTA_CHAIN_TABLE 1, _NAME 3, _HOOK 4 { NFTA_HOOK_HOOKNUM 1, _PRIORITY 2 }, _TYPE 7
        batch.push(
            Message::new(kind(NEWCHAIN), CREATE, &header)
                .attr_str(1, TABLE)
                .attr_str(3, chain.name())
                .nested(4, |hook| hook.attr_be32(1, hook_number(chain)).attr_be32(2, PRIORITY_DSTNAT as u32))
                .attr_str(7, "nat"),
        );
    }
    for rule in rules {
        // NFTA_RULE_TABLE 1, _CHAIN 2, _EXPRESSIONS 4
        batch.push(
            Message::new(kind(NEWRULE), CREATE | APPEND, &header)
                .attr_str(1, TABLE)
                .attr_str(2, rule.chain.name())
                .nested(4, |list| {
                    verdict(rule.matches.iter().fold(list, |list, &one| condition(list, one)), rule.verdict)
                }),
        );
    }
    batch.push(Message::new(BATCH_END, 0, &self::header(Family::V4, SUBSYSTEM)));
    let last = batch.len() - 1;
    Socket::netfilter()
        // nfnetlink acknowledges what is between the two ends of the batch.
        .and_then(|mut socket| socket.exchange(batch, |index| index != 0 && index != last))
        .map_err(|refusal| {
            refusal.while_trying("install redirection rules", "load nf_tables, nft_chain_nat and nft_redir")
        })
}

/// `struct nfgenmsg { u8 family, version; be16 res_id; }`, include/uapi/linux/netfilter/nfnetlink.h.
fn header(family: Family, resource: u16) -> [u8; 4] {
    // NFPROTO_IPV4, NFPROTO_IPV6: include/uapi/linux/netfilter.h.
    let family = match family {
        Family::V4 => 2,
        Family::V6 => 10,
    };
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

/// `enum nf_inet_hooks`, include/uapi/linux/netfilter.h.
fn hook_number(chain: Chain) -> u32 {
    match chain {
        Chain::Prerouting => 0,
        Chain::Output => 3,
    }
}

fn condition(list: Message, condition: Match) -> Message {
    match condition {
        Match::Tcp => compare(meta(list, Meta::L4Protocol), true, &[libc::IPPROTO_TCP as u8]),
        Match::OutLoopback => {
            // Interface names are compared over IFNAMSIZ bytes.
            let mut name = [0; 16];
            name[..2].copy_from_slice(b"lo");
            compare(meta(list, Meta::OutputInterfaceName), true, &name)
        }
        Match::Uid(id, equal) => compare(meta(list, Meta::SocketUid), equal, &id.to_ne_bytes()),
        Match::Gid(id, equal) => compare(meta(list, Meta::SocketGid), equal, &id.to_ne_bytes()),
        // RFC 9293, section 3.1: the destination port is at offset 2.
        Match::DestinationPort(port, equal) => {
            compare(payload(list, Base::Transport, 2, 2), equal, &port.to_be_bytes())
        }
        // RFC 791, section 3.1, and RFC 8200, section 3: offsets of the addresses.
        Match::Source(IpAddr::V4(address)) => compare(payload(list, Base::Network, 12, 4), true, &address.octets()),
        Match::Source(IpAddr::V6(address)) => compare(payload(list, Base::Network, 8, 16), true, &address.octets()),
        Match::Destination(IpAddr::V4(address), equal) => {
            compare(payload(list, Base::Network, 16, 4), equal, &address.octets())
        }
        Match::Destination(IpAddr::V6(address), equal) => {
            compare(payload(list, Base::Network, 24, 16), equal, &address.octets())
        }
    }
}

fn verdict(list: Message, verdict: Verdict) -> Message {
    match verdict {
        // NFTA_IMMEDIATE_DREG 1, _DATA 2 { NFTA_DATA_VERDICT 2 { NFTA_VERDICT_CODE 1 } }
        Verdict::Return => expression(list, "immediate", |data| {
            data.attr_be32(1, REG_VERDICT).nested(2, |value| value.nested(2, |code| code.attr_be32(1, RETURN as u32)))
        }),
        Verdict::Redirect(port) => {
            // NFTA_DATA_VALUE 1
            let list = expression(list, "immediate", |data| {
                data.attr_be32(1, REG_1).nested(2, |value| value.attr(1, &port.to_be_bytes()))
            });
            // NFTA_REDIR_REG_PROTO_MIN 1
            expression(list, "redir", |data| data.attr_be32(1, REG_1))
        }
    }
}

/// Loads a meta value into register 1: NFTA_META_DREG 1, _KEY 2.
fn meta(list: Message, key: Meta) -> Message {
    expression(list, "meta", |data| data.attr_be32(1, REG_1).attr_be32(2, key as u32))
}

/// Loads bytes of a header into register 1: NFTA_PAYLOAD_DREG 1, _BASE 2, _OFFSET 3, _LEN 4.
fn payload(list: Message, base: Base, offset: u32, length: u32) -> Message {
    expression(list, "payload", |data| {
        data.attr_be32(1, REG_1).attr_be32(2, base as u32).attr_be32(3, offset).attr_be32(4, length)
    })
}

/// Compares register 1: NFTA_CMP_SREG 1, _OP 2, _DATA 3 { NFTA_DATA_VALUE 1 }.
fn compare(list: Message, equal: bool, value: &[u8]) -> Message {
    let operation = if equal { CMP_EQ } else { CMP_NEQ };
    expression(list, "cmp", |data| data.attr_be32(1, REG_1).attr_be32(2, operation).nested(3, |one| one.attr(1, value)))
}

/// One expression of a rule: NFTA_LIST_ELEM 1 { NFTA_EXPR_NAME 1, NFTA_EXPR_DATA 2 }.
fn expression(list: Message, name: &str, data: impl FnOnce(Message) -> Message) -> Message {
    list.nested(1, |element| element.attr_str(1, name).nested(2, data))
}
