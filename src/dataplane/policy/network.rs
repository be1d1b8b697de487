//! The addresses of a socket against the networks of the policy.

use crate::asm::Reg::R1;
use crate::asm::{Asm, Base, Label, Place, Uses};
use crate::dataplane::kernel::ctx::SOCK_OPS;
use crate::dataplane::options::Network;
use crate::dataplane::pairing::address::{End, store_address};
use crate::dataplane::state::socket::Address;
use crate::layout;

layout! {
    /// Both addresses of a socket.
    pub(in crate::dataplane) struct Addresses: 32 {
        LOCAL: Address = 0;
        REMOTE: Address = 16;
    }
}

/// Goes on when neither address of the socket lies in one of `excluded` and, unless `included` is empty, one lies in one
/// of these; else to `no`. The addresses stand at `room` meanwhile.
#[track_caller]
pub(in crate::dataplane) fn require(
    a: &mut Asm,
    included: &[Network],
    excluded: &[Network],
    room: Place<Addresses>,
    no: Label,
) {
    let addresses = [(End::Local, room.at(Addresses::LOCAL)), (End::Remote, room.at(Addresses::REMOTE))];
    a.emitter("network", Uses::nothing().reads(SOCK_OPS.regs() | room.regs()).writes(R1), |a| {
        for (end, address) in addresses {
            store_address(a, end, address);
        }
        let each = |networks: &[Network]| -> Vec<(Network, Place<Address>)> {
            networks.iter().flat_map(|network| addresses.map(|(_, address)| (*network, address))).collect()
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
fn jump_if_inside(a: &mut Asm, network: Network, address: Place<Address>, inside: Label) {
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
}
