//! What a survey says of connections whose traffic is known.

use std::io::{Read, Write};
use std::time::Duration;

use sidestep::observe::{Observed, Observer, Processes, Survey};

use crate::pair;

/// Of all that runs on the machine, the connections of this process.
fn look(observer: &Observer) -> Observed {
    let mut observed = observer.look().unwrap();
    observed.connections.local.retain(|one| one.client.pid == std::process::id());
    observed.connections.single.retain(|one| one.pid == std::process::id());
    observed
}

#[test]
fn a_survey_tells_bytes_and_why_a_connection_cannot_be_accelerated() {
    let (mut client, mut server) = pair("127.0.0.1:0");
    let (idle_client, idle_server) = pair("127.0.0.1:0");
    for socket in [&client, &server, &idle_client, &idle_server] {
        socket.set_nonblocking(true).unwrap();
    }
    let observer = Observer::new().unwrap();
    let before = look(&observer);
    for _ in 0..10 {
        client.write_all(&[1; 500]).unwrap();
        let mut read = 0;
        while read < 500 {
            read += server.read(&mut [0; 500]).unwrap_or(0);
        }
    }
    idle_server.set_nonblocking(false).unwrap();
    let after = look(&observer);
    let survey = Survey::between(&before, &after, Duration::from_secs(2), &mut Processes::default());
    // Other tests of this process may have connections of their own meanwhile.
    let group = survey.groups.iter().find(|group| group.connections >= 2).unwrap();
    assert!(group.bytes_per_second >= 2500.0 && group.segments_per_second >= 5.0, "{group:?}");
    assert!(group.eligible_share < 1.0, "{group:?}");
    let blocking = group.why_not.iter().find(|why| why.condition.code == "server_nonblocking").unwrap();
    assert!(blocking.connections >= 1 && blocking.condition.remedy.is_some(), "{blocking:?}");
    assert!(blocking.condition.finding.contains("blocks on"), "{blocking:?}");
}
