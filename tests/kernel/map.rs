//! Maps: every kind that the data plane uses, entries, walks, and the errors that are worth a remedy.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use sidestep::syscall::btf::StorageBtf;
use sidestep::syscall::{Errno, Map, MapFlags, MapSpec, UpdateFlags, id, possible_cpus};

use crate::support::link::Finish;
use crate::support::machine::require_root;
use crate::support::wait::wait_until;
use sidestep::uapi::MapType;

fn key(number: u32) -> [u8; 4] {
    number.to_ne_bytes()
}

#[test]
fn entries_of_a_hash_map_come_and_go() {
    if !require_root("entries_of_a_hash_map_come_and_go") {
        return;
    }
    let map = Map::create(&MapSpec::new("t.hash", MapType::HASH, 4, 6, 2)).unwrap();
    assert_eq!(map.lookup(&key(1)).unwrap(), None);
    map.update(&key(1), b"sixsix", UpdateFlags::NO_EXIST).unwrap();
    assert_eq!(map.lookup(&key(1)).unwrap().as_deref(), Some(&b"sixsix"[..]));
    assert_eq!(map.update(&key(1), b"sevenn", UpdateFlags::NO_EXIST).unwrap_err().errno(), Some(Errno::EEXIST));
    assert_eq!(map.update(&key(2), b"sevenn", UpdateFlags::EXIST).unwrap_err().errno(), Some(Errno::ENOENT));
    map.update(&key(2), b"sevenn", UpdateFlags::empty()).unwrap();
    let full = map.update(&key(3), b"eighth", UpdateFlags::empty()).unwrap_err();
    assert_eq!(full.errno(), Some(Errno::E2BIG));
    assert!(full.to_string().contains("the hash map \"t.hash\"") && full.to_string().contains("full"), "{full}");
    assert!(map.delete(&key(1)).unwrap());
    assert!(!map.delete(&key(1)).unwrap());
    let wrong = map.lookup(&[0; 3]).unwrap_err().to_string();
    assert!(wrong.contains("4 bytes, not 3"), "{wrong}");
    assert!(map.update(&key(1), b"short", UpdateFlags::empty()).is_err());
}

#[test]
fn the_kernel_confirms_what_was_asked_for() {
    if !require_root("the_kernel_confirms_what_was_asked_for") {
        return;
    }
    let spec = MapSpec::new("t.lru", MapType::LRU_HASH, 8, 16, 1000);
    let map = Map::create(&spec).unwrap();
    let info = map.info().unwrap();
    assert_eq!(
        (info.name.as_str(), info.map_type, info.key_size, info.value_size),
        ("t.lru", MapType::LRU_HASH, 8, 16)
    );
    assert!(info.max_entries >= 1000 && info.id > 0);
    let again = Map::from_id(info.id).unwrap();
    map.update(&[7; 8], &[9; 16], UpdateFlags::empty()).unwrap();
    assert_eq!(again.lookup(&[7; 8]).unwrap(), Some(vec![9; 16]));
    assert_eq!(again.name(), "t.lru");
    assert!(id::ids(id::Kind::Map).any(|id| id.unwrap() == info.id));
}

#[test]
fn a_map_goes_away_with_its_owner() {
    if !require_root("a_map_goes_away_with_its_owner") {
        return;
    }
    let map = Map::create(&MapSpec::new("t.gone", MapType::ARRAY, 4, 8, 1)).unwrap();
    let id = map.info().unwrap().id;
    drop(map);
    // The kernel frees it after a grace period.
    wait_until("the map goes", || !id::ids(id::Kind::Map).any(|live| live.unwrap() == id));
}

#[test]
fn per_cpu_values_have_a_slot_for_each_cpu() {
    if !require_root("per_cpu_values_have_a_slot_for_each_cpu") {
        return;
    }
    let cpus = possible_cpus().unwrap();
    for map_type in [MapType::PERCPU_ARRAY, MapType::PERCPU_HASH] {
        // 12 bytes: the kernel's slots are rounded up to 16.
        let map = Map::create(&MapSpec::new("t.percpu", map_type, 4, 12, 1)).unwrap();
        let values: Vec<Vec<u8>> = (0..cpus).map(|cpu| vec![cpu as u8 + 1; 12]).collect();
        map.update_percpu(&key(0), &values, UpdateFlags::empty()).unwrap();
        assert_eq!(map.lookup_percpu(&key(0)).unwrap(), Some(values));
        assert!(map.lookup(&key(0)).unwrap_err().to_string().contains("lookup_percpu"));
    }
}

#[test]
fn a_walk_gives_every_key_once() {
    if !require_root("a_walk_gives_every_key_once") {
        return;
    }
    let map = Map::create(&MapSpec::new("t.walk", MapType::HASH, 4, 4, 300)).unwrap();
    assert_eq!(map.keys().count(), 0);
    let numbers: BTreeSet<u32> = (0..300).map(|n| n * 7).collect();
    for &number in &numbers {
        map.update(&key(number), &key(0), UpdateFlags::empty()).unwrap();
    }
    let walked: Vec<u32> = map.keys().map(|key| u32::from_ne_bytes(key.unwrap().try_into().unwrap())).collect();
    assert_eq!(walked.len(), 300);
    assert_eq!(walked.into_iter().collect::<BTreeSet<_>>(), numbers);
    // Deleting what the walk stands on makes the kernel start over; the walk must still end, with every key once.
    let mut seen = BTreeSet::new();
    for key in map.keys() {
        let key = key.unwrap();
        assert!(map.delete(&key).unwrap());
        assert!(seen.insert(key));
    }
    assert_eq!(seen.len(), 300);
}

#[test]
fn a_walk_ends_while_others_write() {
    if !require_root("a_walk_ends_while_others_write") {
        return;
    }
    let map = Map::create(&MapSpec::new("t.busy", MapType::HASH, 4, 4, 128)).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                map.update(&key(number), &key(0), UpdateFlags::empty()).unwrap();
                let _ = map.delete(&key(number.wrapping_sub(100))).unwrap();
                number = number.wrapping_add(1);
            }
        });
        let _finish = Finish(&stop);
        for _ in 0..50 {
            let keys: Vec<_> = map.keys().filter_map(Result::ok).collect();
            assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
        }
    });
}

#[test]
fn a_sockhash_takes_connected_sockets_and_gives_cookies() {
    if !require_root("a_sockhash_takes_connected_sockets_and_gives_cookies") {
        return;
    }
    let map = Map::create(&MapSpec::new("t.sockhash", MapType::SOCKHASH, 8, 8, 4)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let _server = listener.accept().unwrap();
    let value = u64::from(client.as_raw_fd() as u32).to_ne_bytes();
    map.update(&[1; 8], &value, UpdateFlags::NO_EXIST).unwrap();
    let cookie = map.lookup(&[1; 8]).unwrap().unwrap();
    assert_ne!(cookie, [0; 8]);
    let busy = map.update(&[1; 8], &value, UpdateFlags::NO_EXIST).unwrap_err();
    assert!([Some(Errno::EEXIST), Some(Errno::EBUSY)].contains(&busy.errno()), "{busy}");
    assert_eq!(map.keys().count(), 1);
    // An entry vanishes when its socket closes.
    drop(client);
    wait_until("the closed socket leaves the map", || map.lookup(&[1; 8]).unwrap().is_none());
}

#[test]
fn socket_storage_needs_its_types_and_holds_a_value() {
    if !require_root("socket_storage_needs_its_types_and_holds_a_value") {
        return;
    }
    let spec = MapSpec::new("t.storage", MapType::SK_STORAGE, 4, 40, 0).flags(MapFlags::NO_PREALLOC);
    let untyped = Map::create(&spec).unwrap_err();
    assert_eq!(untyped.errno(), Some(Errno::EINVAL));
    let types = StorageBtf::load(40).unwrap();
    let map = Map::create(&spec.btf(types.for_map())).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let fd = (listener.as_raw_fd() as u32).to_ne_bytes();
    assert_eq!(map.lookup(&fd).unwrap(), None);
    map.update(&fd, &[5; 40], UpdateFlags::empty()).unwrap();
    assert_eq!(map.lookup(&fd).unwrap(), Some(vec![5; 40]));
    assert!(map.delete(&fd).unwrap());
    assert!(map.info().unwrap().btf_id > 0);
}

#[test]
fn a_frozen_map_is_read_only() {
    if !require_root("a_frozen_map_is_read_only") {
        return;
    }
    let map = Map::create(&MapSpec::new("t.frozen", MapType::ARRAY, 4, 4, 1)).unwrap();
    map.update(&key(0), &key(42), UpdateFlags::empty()).unwrap();
    map.freeze().unwrap();
    assert_eq!(map.lookup(&key(0)).unwrap().as_deref(), Some(&key(42)[..]));
    let error = map.update(&key(0), &key(43), UpdateFlags::empty()).unwrap_err();
    assert!(error.to_string().contains("frozen"), "{error}");
}

#[test]
fn an_impossible_map_says_what_it_was() {
    if !require_root("an_impossible_map_says_what_it_was") {
        return;
    }
    let error = Map::create(&MapSpec::new("t.bad", MapType::SOCKHASH, 4, 5, 4)).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("cannot create the sockhash map \"t.bad\": Invalid argument (EINVAL); "), "{text}");
    assert!(Map::create(&MapSpec::new("a name too long", MapType::HASH, 4, 4, 1)).is_err());
}
