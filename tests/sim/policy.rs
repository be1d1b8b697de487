//! The policy in the simulated kernel: who enters the sockhash, and who redirects, is what the lists say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proptest::prelude::*;

use sidestep::agent::simulated_offsets;
use sidestep::dataplane::{self, Direction, Network, Options, Pairing, Policy, PortRange, Readers, Servers, Tier};
use sidestep::verifier_sim::kernel::{Address, End, SocketId};

use super::history::{CONFIG, Form, Insns, Simulation};

/// Lists as the user writes them, and the same as a plain search.
#[derive(Clone, Debug)]
struct Lists {
    ports: [Vec<(u16, u16)>; 2],
    networks: [Vec<(u32, u8)>; 2],
    server_ports: Vec<(u16, u16)>,
    server_networks: Vec<(u32, u8)>,
    direction: Direction,
}

impl Lists {
    fn policy(&self) -> Policy {
        let ports =
            |list: &[(u16, u16)]| list.iter().map(|&(first, last)| PortRange { first, last }).collect::<Vec<_>>();
        let networks = |list: &[(u32, u8)]| {
            list.iter()
                .map(|&(ip, prefix)| Network::new(IpAddr::V4(Ipv4Addr::from_bits(ip)), prefix).unwrap())
                .collect::<Vec<_>>()
        };
        Policy {
            ports: ports(&self.ports[0]),
            excluded_ports: ports(&self.ports[1]),
            networks: networks(&self.networks[0]),
            excluded_networks: networks(&self.networks[1]),
            servers: Servers { ports: ports(&self.server_ports), networks: networks(&self.server_networks) },
            direction: self.direction,
            opt_out: false,
            ..Policy::default()
        }
    }

    fn admits(&self, end: End, is_server: bool) -> bool {
        let server_port = if is_server { end.local.port } else { end.remote.port };
        let port = |list: &[(u16, u16)]| list.iter().any(|(first, last)| (*first..=*last).contains(&server_port));
        let network = |list: &[(u32, u8)]| {
            let same = |a: u32, b: u32, prefix: u8| (0..prefix).all(|bit| (a ^ b) >> (31 - bit) & 1 == 0);
            list.iter().any(|(ip, prefix)| [end.local.ip, end.remote.ip].iter().any(|own| same(*own, *ip, *prefix)))
        };
        let [ports, no_ports] = &self.ports;
        let [networks, no_networks] = &self.networks;
        (ports.is_empty() || port(ports))
            && !port(no_ports)
            && (networks.is_empty() || network(networks))
            && !network(no_networks)
            && (!is_server
                || (self.server_ports.is_empty() && self.server_networks.is_empty())
                || port(&self.server_ports)
                || network(&self.server_networks))
    }
}

/// Ports and addresses from few, so that lists and connections meet, and the highest and lowest among them.
fn port() -> impl Strategy<Value = u16> {
    prop_oneof![0..6_u16, Just(u16::MAX), Just(u16::MAX - 1)]
}

fn ip() -> impl Strategy<Value = u32> {
    prop_oneof![0x0a00_0000..0x0a00_0004_u32, Just(0x0aff_0001), Just(0x7f00_0001), Just(u32::MAX)]
}

fn lists() -> impl Strategy<Value = Lists> {
    let range = || (port(), port()).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let ports = || prop::collection::vec(range(), 0..4);
    let networks = || prop::collection::vec((ip(), 0..33_u8), 0..3);
    let direction = prop_oneof![Just(Direction::Both), Just(Direction::ToActive), Just(Direction::ToPassive)];
    let servers = (ports(), networks());
    ((ports(), ports()), (networks(), networks()), servers, direction).prop_map(
        |(ports, networks, servers, direction)| Lists {
            ports: [ports.0, ports.1],
            networks: [networks.0, networks.1],
            server_ports: servers.0,
            server_networks: servers.1,
            direction,
        },
    )
}

/// Whether the next message of `from` is redirected.
fn redirects(simulation: &mut Simulation, from: SocketId) -> bool {
    simulation.world.send(from, 10).unwrap();
    let redirects = simulation.world.socket(from).unwrap().redirecting_to().is_some();
    simulation.world.finish_send(from).unwrap();
    redirects
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn the_lists_decide(
        lists in lists(),
        four_tuple in any::<bool>(),
        (client_ip, service_ip, server_ip) in (ip(), ip(), ip()),
        (service_port, server_port) in (port(), port()),
    ) {
        let pairing = if four_tuple { Pairing::FourTuple } else { Pairing::Sequence };
        let tier = Tier::Gated(simulated_offsets().unwrap());
        let options = Options { pairing, tier, readers: Readers::NonBlocking, policy: lists.policy() };
        let plane = dataplane::build(options).unwrap();
        let mut simulation = Simulation::new(&plane, Form::Calls, &Insns::of(&plane, Form::Calls), CONFIG);
        let client_address = Address { ip: client_ip, port: 40_000 };
        let end = |local, remote, isn| End::new(1, local, remote, isn);
        let client_end = end(client_address, Address { ip: service_ip, port: service_port }, 100);
        let server_end = end(Address { ip: server_ip, port: server_port }, client_address, 200);
        let (client, server) = simulation.world.connect(client_end, server_end, 0).unwrap();
        simulation.world.finish_handshake(server).unwrap();
        simulation.world.accept(server);

        let client_admitted = lists.admits(client_end, false);
        let server_admitted = lists.admits(server_end, true);
        let both = client_admitted && server_admitted;
        // What the agent thinks of an end that exists is the same.
        let address = |of: Address| SocketAddr::from((Ipv4Addr::from_bits(of.ip), of.port));
        let thought = |is_server, end: End| lists.policy().admits(is_server, address(end.local), address(end.remote));
        prop_assert_eq!((thought(false, client_end), thought(true, server_end)), (client_admitted, server_admitted));
        let member = |id| simulation.world.socket(id).unwrap().is_member();
        prop_assert_eq!((member(client), member(server)), (client_admitted, both));
        let up = redirects(&mut simulation, client);
        prop_assert_eq!(up, both && lists.direction != Direction::ToActive);
        let down = redirects(&mut simulation, server);
        prop_assert_eq!(down, both && lists.direction != Direction::ToPassive);
    }
}
