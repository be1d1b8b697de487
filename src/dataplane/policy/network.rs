//! The addresses of a socket against the networks of the policy.

use crate::asm::Reg::R1;
use crate::asm::{Asm, Label, Slot, Uses};
use crate::dataplane::kernel::ctx::SOCK_OPS;
use crate::dataplane::options::Network;
use crate::dataplane::pairing::address::{End, store_address};
use crate::dataplane::state::socket::Address;

/// Goes on when neither address of the socket lies in one of `excluded` and, unless `included` is empty, one lies in one
/// of these; else to `no`.
#[track_caller]
pub(in crate::dataplane) fn require(a: &mut Asm, included: &[Network], excluded: &[Network], no: Label) {
    a.emitter("network", Uses::nothing().reads(SOCK_OPS.reg()).writes(R1), |a| {
        let addresses = ["local address", "remote address"].map(|name| a.slot::<Address>(name));
        for (end, address) in [End::Local, End::Remote].into_iter().zip(addresses) {
            store_address(a, end, address);
        }
        let each = |networks: &[Network]| -> Vec<(Network, Slot<Address>)> {
            networks.iter().flat_map(|network| addresses.map(|address| (*network, address))).collect()
        };
        for (network, address) in each(excluded) {
            jump_if_inside(a, network, address, no);
        }
        if !included.is_empty() {
            a.block("network_admitted", |a, yes| {
                for (network, address) in each(included) {
                    jump_if_inside(a, network, address, yes);
                }
                a.goto(no);
            });
        }
    });
}

/// Goes to `inside` when the address lies in `network`.
#[track_caller]
fn jump_if_inside(a: &mut Asm, network: Network, address: Slot<Address>, inside: Label) {
    a.idiom("inside", Uses::nothing().writes(R1), |a| {
        a.block("outside", |a, outside| {
            for (word, field) in Address::WORDS.items().enumerate() {
                let part = |bits: u128| (bits >> (96 - 32 * word)) as u32;
                // As the address's bytes read in this machine's order.
                let [mask, wanted] = [network.mask(), network.address].map(|bits| part(bits).to_be() as i32);
                if mask == 0 {
                    break;
                }
                a.ld(R1, address, field);
                if mask != -1 {
                    a.and32(R1, mask);
                }
                a.jump_if(R1.w().differs(wanted), outside);
            }
            a.goto(inside);
        });
    });
}
