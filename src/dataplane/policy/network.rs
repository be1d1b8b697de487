//! The addresses of a socket against the networks of the policy.

use crate::asm::Reg::R1;
use crate::asm::{Asm, Cond, FP, Label, Size};
use crate::dataplane::options::Network;
use crate::dataplane::pairing::address::{End, store_address};

/// Goes on when neither address of the socket lies in one of `excluded` and, unless `included` is empty, one lies in one
/// of these; else to `no`. The addresses stand at `slot` meanwhile, 16 bytes each.
#[track_caller]
pub(in crate::dataplane) fn require(a: &mut Asm, included: &[Network], excluded: &[Network], slot: i16, no: Label) {
    let addresses = [(End::Local, slot), (End::Remote, slot + 16)];
    for (end, slot) in addresses {
        store_address(a, end, FP, slot);
    }
    let each = |networks: &[Network]| -> Vec<(Network, i16)> {
        networks.iter().flat_map(|network| addresses.map(|(_, slot)| (*network, slot))).collect()
    };
    for (network, slot) in each(excluded) {
        jump_if_inside(a, network, slot, no);
    }
    if !included.is_empty() {
        let yes = a.label("network_admitted");
        for (network, slot) in each(included) {
            jump_if_inside(a, network, slot, yes);
        }
        a.goto(no);
        a.bind(yes);
    }
}

/// Goes to `inside` when the address at `slot` lies in `network`.
#[track_caller]
fn jump_if_inside(a: &mut Asm, network: Network, slot: i16, inside: Label) {
    let outside = a.label("outside");
    for word in 0..4 {
        let part = |bits: u128| (bits >> (96 - 32 * word)) as u32;
        // As the address's bytes read in this machine's order.
        let [mask, wanted] = [network.mask(), network.address].map(|bits| part(bits).to_be() as i32);
        if mask == 0 {
            break;
        }
        a.load(Size::W, R1, FP, slot + 4 * word as i16);
        if mask != -1 {
            a.and32(R1, mask);
        }
        a.jump32(Cond::Ne, R1, wanted, outside);
    }
    a.goto(inside);
    a.bind(outside);
}
