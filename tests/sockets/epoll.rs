//! What `list --json` and `explain` say of epoll instances.

use std::net::TcpStream;
use std::os::fd::AsRawFd;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use serde_json::Value;

use crate::pair;
use crate::support::bpffs::TestBpffs;
use crate::support::machine::Turn;

fn call(args: &[&str]) -> String {
    let mut out = Vec::new();
    sidestep::cli::dispatch(args.iter().map(Into::into).collect(), &mut std::io::empty(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// What an answer in JSON says of the two ends: how each is registered, and for which events.
fn registered(ends: [&Value; 2]) -> [(String, Vec<String>); 2] {
    ends.map(|end| {
        let epoll = &end["epoll"];
        assert!(epoll["unseen"].is_null(), "{epoll}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&epoll["registered"]), epoll["events"].as_array().unwrap().iter().map(text).collect())
    })
}

#[test]
fn a_registration_is_seen_as_it_is_made_changed_and_removed() {
    // A child that another test starts has our descriptors until it executes its program.
    let _turn = Turn::take();
    let pins = TestBpffs::new();
    let bpffs = ["--bpffs", pins.path().to_str().unwrap()];
    let (client, server): (TcpStream, TcpStream) = pair("127.0.0.1:0");
    let port = client.local_addr().unwrap().port().to_string();
    let addresses = [&client, &server].map(|socket| socket.local_addr().unwrap().to_string());
    let look = || {
        let json = |args: &[&str]| serde_json::from_str::<Value>(&call(&[args, &bpffs, &["--json"]].concat())).unwrap();
        let explained = json(&["explain", &addresses[0], &addresses[1]]);
        let listed = json(&["list", "--port", &port]);
        let seen = registered([&explained["ends"][0], &explained["ends"][1]]);
        assert_eq!(registered([&listed["client"], &listed["server"]]), seen);
        let text = call(&[&["explain", addresses[0].as_str(), &addresses[1]], &bpffs[..]].concat());
        (seen, text)
    };
    let none = ("none".to_owned(), Vec::new());
    let (seen, text) = look();
    assert_eq!(seen, [none.clone(), none.clone()]);
    assert_eq!(text.matches("  no epoll instance of this process watches it").count(), 2, "{text}");

    let [level, edge] = [(); 2].map(|()| Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap());
    // The kernel adds EPOLLERR and EPOLLHUP to what is asked for (`ep_insert`, fs/eventpoll.c).
    level.add(&client, EpollEvent::new(EpollFlags::EPOLLIN, 1)).unwrap();
    let events = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
    edge.add(&server, EpollEvent::new(events, 2)).unwrap();
    let (seen, text) = look();
    let of = |word: &str, events: &[&str]| (word.to_owned(), events.iter().map(|one| (*one).to_owned()).collect());
    assert_eq!(seen, [of("level", &["IN ERR HUP"]), of("edge", &["IN OUT ERR HUP RDHUP ET"])]);
    assert!(text.contains("  an epoll instance watches it, level-triggered: IN ERR HUP\n"), "{text}");
    assert!(text.contains("  an epoll instance watches it, edge-triggered: IN OUT ERR HUP RDHUP ET\n"), "{text}");

    // By another descriptor of the same socket, and so that one of several waiters wakes.
    let copy = client.try_clone().unwrap();
    assert_ne!(copy.as_raw_fd(), client.as_raw_fd());
    let exclusive = EpollFlags::EPOLLIN | EpollFlags::EPOLLET | EpollFlags::EPOLLEXCLUSIVE;
    edge.add(&copy, EpollEvent::new(exclusive, 3)).unwrap();
    edge.delete(&server).unwrap();
    let (seen, text) = look();
    assert_eq!((seen[0].0.as_str(), &seen[1]), ("both", &none));
    let mut events = seen[0].1.clone();
    events.sort();
    assert_eq!(events, ["IN ERR HUP", "IN ERR HUP EXCLUSIVE ET"]);
    assert!(text.contains("  epoll instances watch it, level-triggered and edge-triggered: "), "{text}");
    drop((level, edge));
    assert_eq!(look().0, [none.clone(), none]);
}
