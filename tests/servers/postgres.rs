//! As much of PostgreSQL's protocol, version 3, as it takes to ask for a long text and to compare the answer (its
//! documentation, "Frontend/Backend Protocol").

use std::io::{ErrorKind, Read, Write};

use nix::poll::PollFlags;

use crate::client::content;
use crate::staying::{BYTES, Client, Dialogue};

/// A message: its kind, and its length, which counts itself.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind][..], &length, body].concat()
}

/// "ReadyForQuery", outside of a transaction.
const READY: [u8; 6] = [b'Z', 0, 0, 0, 5, b'I'];

/// Begins a session, which takes no password.
pub(crate) fn greet(client: &mut Client) {
    let body = [&196_608_u32.to_be_bytes()[..], b"user\0tester\0database\0postgres\0\0"].concat();
    let startup = message(0, &body);
    // This message alone has no kind.
    client.stream.write_all(&startup[1..]).unwrap();
    let mut said = Vec::new();
    while !said.ends_with(&READY) {
        client.wait(PollFlags::POLLIN);
        let mut buffer = [0; 4096];
        match client.stream.read(&mut buffer) {
            Ok(0) => panic!("PostgreSQL refuses: {}", String::from_utf8_lossy(&said)),
            Ok(length) => said.extend_from_slice(&buffer[..length]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
}

/// A text goes to the server, and comes back.
pub(crate) fn dialogues() -> Vec<Dialogue> {
    let text: String = content(BYTES / 2).iter().map(|byte| format!("{byte:02x}")).collect();
    let request = message(b'Q', format!("SELECT '{text}'\0").as_bytes());
    // One column of the type text, 25, of no table and of any length.
    let column = [b"?column?\0".as_slice(), &[0; 6], &25_u32.to_be_bytes(), &[0xff; 6], &[0; 2]].concat();
    let row = [&[0, 1][..], &u32::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
    let answer = [
        message(b'T', &[&[0, 1][..], &column].concat()),
        message(b'D', &row),
        message(b'C', b"SELECT 1\0"),
        READY.to_vec(),
    ];
    vec![Dialogue { request, answer: answer.concat() }]
}
