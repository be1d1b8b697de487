//! Checks whose loss no history can notice, and why.

/// Why no history notices that some checks are gone.
pub(super) struct Reason {
    /// The forms and pairings of the programs of which this is true; all where there are none.
    pub(super) forms: &'static [&'static str],
    pub(super) why: &'static str,
    /// The ends of the checks' names.
    pub(super) checks: &'static [&'static str],
}

const fn always(why: &'static str, checks: &'static [&'static str]) -> Reason {
    Reason { forms: &[], why, checks }
}

const fn in_forms(forms: &'static [&'static str], why: &'static str, checks: &'static [&'static str]) -> Reason {
    Reason { forms, why, checks }
}

pub(super) const REASONS: &[Reason] = &[
    // Loads that cannot fail, or whose failure says what the next check says. A failed load is 0.
    always(
        "our own socket, and what the kernel keeps for it, live while its callback or its sendmsg runs",
        &[
            "request/request_key/probe/there is memory",
            "request/announce/probe/there is memory",
            "proof/probe/there is memory",
            "listener/probe/there is memory",
            "own/probe/there is memory",
            "own/psock/probe/there is memory",
            "own/queue/probe/there is memory",
            "keepalive/times/probe/there is memory",
            "keepalive/probe/there is memory",
            "renew/times/probe/there is memory",
            "renew/probe/there is memory",
            "packet/probe/there is memory",
            "unread/probe/there is memory",
            "closing/probe/there is memory",
            "wake/probe/there is memory",
            "watch/psock/probe/there is memory",
            "watch/queue/probe/there is memory",
            "arm/probe/there is memory",
            "narrow/probe/there is memory",
            "stream/probe/there is memory",
            "readers/sender/probe/there is memory",
            "underway/psock/probe/there is memory",
            "own/references/probe/there is memory",
            "underway/references/probe/there is memory",
        ],
    ),
    always(
        "the peer's storage may be gone, as in half of the histories: then its cookie reads as 0, which is not the peer's",
        &["gate/probe/there is memory", "unenroll/probe/there is memory"],
    ),
    always(
        "the peer's socket may be gone: then no psock is found, or a count of 0, or a queue that is not empty",
        &[
            "unenroll/peer/psock/probe/there is memory",
            "unenroll/peer/queue/probe/there is memory",
            "unenroll/peer/references/probe/there is memory",
        ],
    ),
    always(
        "the peer's socket lives as long as its storage, whose cookie the gate has just compared; so do its file, its psock, \
         its protocol, its memory groups and the list of its waiters",
        &[
            "endpoints/options/probe/there is memory",
            "ours/probe/there is memory",
            "endpoints/protocol/probe/there is memory",
            "endpoints/callbacks/probe/there is memory",
            "endpoints/probe/there is memory",
            "readers/receiver/probe/there is memory",
            "order/probe/there is memory",
            "outside/probe/there is memory",
            "late/probe/there is memory",
            "awake/probe/there is memory",
            "receiver/probe/there is memory",
            "memory/probe/there is memory",
            "groups/probe/there is memory",
            "backpressure/psock/probe/there is memory",
            "backpressure/queue/probe/there is memory",
            "fixed_buffer/probe/there is memory",
            "buffers/probe/there is memory",
        ],
    ),
    always(
        "what waits for a socket and is not an epoll item watches no file, and one that does has a file that is not 0",
        &["epoll/probe/there is memory", "item/probe/there is memory"],
    ),
    always("the copy is from the program's own stack", &["number_of/the copy is made"]),
    // Null pointers.
    always(
        "a socket that is in no sockhash has no psock: the next load is from nowhere, and finds no list's head",
        &["unenroll/own/psock/it is in a sockhash"],
    ),
    always(
        "the next load is from nowhere; then the socket only stays longer",
        &["unenroll/peer/psock/it is in a sockhash"],
    ),
    always(
        "without a psock the peer is in no sockhash, and redirection finds no socket",
        &["backpressure/psock/it is in a sockhash"],
    ),
    always("a socket that its peer has taken out sees that before", &["watch/psock/it is in a sockhash"]),
    always("no packet is lost here, so that no sender sends again", &["unenroll/we do not send again"]),
    always("a socket that sends by sk_msg has a psock", &["underway/psock/it is in a sockhash"]),
    always(
        "a socket that connects or sends has a file",
        &[
            "active/own/it has a socket",
            "active/own/it has a file",
            "readers/sender/it has a socket",
            "readers/sender/it has a file",
        ],
    ),
    always(
        "the load through the null pointer fails, or is null as well",
        &["readers/receiver/it has a socket", "readers/receiver/it has a file"],
    ),
    in_forms(
        &["calls", "waking", "loads", "paced"],
        "the readers' look at the receiver has asked in the same run, or when the pair was new",
        &["epoll/the peer has a socket", "epoll/the peer has a file"],
    ),
    in_forms(
        &["loads"],
        "the readers' look at the receiver has asked in the same run",
        &["awake/it does not block", "awake/it has a socket", "awake/it has a file"],
    ),
    in_forms(
        &["any"],
        "a socket without a file is not accepted, and nothing waits for it",
        &["epoll/the peer has a file"],
    ),
    always(
        "a message has a socket, which the verifier knows (sk_msg_is_valid_access)",
        &["sk_msg/the message has a socket"],
    ),
    // Backed up by another check.
    always(
        "a peer that is gone is in no sockhash, and a successor with its addresses has other sequence numbers",
        &["gate/the peer's storage is still the peer's"],
    ),
    always("the verdict is SK_PASS in any case; only the counters err", &["redirect/the peer is in the sockhash"]),
    always("redirection to a socket that is in no sockhash finds no socket", &["enroll/the sockhash takes it"]),
    always("a socket that does not wait has no record to adopt", &["sk_msg/it waits for its peer"]),
    in_forms(
        &["calls", "waking", "loads", "paced", "any"],
        "a damaged record or answer has a wrong storage, whose cookie the gate compares",
        &["adopt/it is whole, and for us", "claim/it is whole"],
    ),
    in_forms(
        &["sticky"],
        "with sequence pairing a damaged record has the right cookie, which is the key of the sockhash",
        &["adopt/it is whole, and for us", "claim/it is whole"],
    ),
    always(
        "a record that an attacker has made after the handshake, of a peer that is closed",
        &["probation/unclaimed/it is ours"],
    ),
    always("no mark is 0, so that the comparison refuses it, too", &["proof/the packet is marked"]),
    always("what an attacker has filled has no proof", &["announcement/no other socket has filled it in"]),
    always("an empty record does not verify", &["record/an active end has filled it in"]),
    always(
        "a socket that has called connect has no proof either",
        &["listener/it had no file before it was established", "listener/the packet is not a SYN-ACK"],
    ),
    always("the map is never full here; then the active end stays on the stack", &["answer/the map has room"]),
    always(
        "a socket that is closed needs neither an answer nor a callback, unless it connects again, which none does here",
        &["state/it has given an answer", "state/drop_state/only we wanted it"],
    ),
    // A closed socket is gone here.
    always(
        "tests/sim/closing.rs says which callbacks a socket keeps",
        &[
            "closing/its settings are its own",
            "closing/it is in no socket map",
            "closing/all that it has sent has arrived",
        ],
    ),
    always(
        "one that has left has given them up, and the storage of one that was never a member names no socket",
        &["closing/it has our callbacks"],
    ),
    always(
        "a peer that is not marked as well stays in the sockhash until it closes",
        &["closing/the agent has not marked it"],
    ),
    always("the gate redirects nothing to an end without callbacks", &["closing/it neither reads nor sends"]),
    always("outside the sockhash the kernel wakes readers", &["closing/all that has come is read"]),
    always(
        "a socket that has no peer has no address of its storage and its socket, and no member's key",
        &["sk_msg/it is paired", "sk_msg/a paired one may still redirect"],
    ),
    always("LAST_SEQ is then 0, which a sequence number is only by chance", &["outside/it has been quiet before"]),
    in_forms(
        &["calls", "waking", "paced"],
        "before the first redirected message, the order's look at the reader asks the same",
        &["readers/receiver/it does not block"],
    ),
    always("an announcement does no harm: each end asks for the switch itself", &["request/switch/it is on"]),
    always(
        "behind the last group that is looked at, both ways lead to the same place",
        &["groups/there is no group above"],
    ),
    in_forms(
        &["any"],
        "a message by the stack makes the pair leave in any case, since a reader may sleep in the call that reads it",
        &["backpressure/the queue is not empty"],
    ),
    in_forms(
        &["sticky"],
        "another connection of the same client's address differs in several of these at once",
        &[
            "confirm/their first number is ours",
            "confirm/both numbers are ours",
            "confirm/namespace",
            "confirm/their address, first half",
            "confirm/their address, second half",
            "confirm/our address, first half",
            "confirm/their port",
        ],
    ),
    // Only what happens while a program runs, or a second thread on one socket, could tell; histories have neither.
    always("a peer that sends while we look at the queues", &["unenroll/the peer has not sent meanwhile"]),
    always(
        "a store that other processors see late: `tests/order` has schedules for it",
        &["defer/what was noted before SENT has its barrier behind it"],
    ),
    always(
        "a reader that does not block looks at the stack once in a call; here O_NONBLOCK that is set meanwhile counts at once",
        &["outside/no thread is inside a call"],
    ),
    in_forms(&["loads"], "for both reasons above", &["outside/and nothing has taken the stack since"]),
    always("a program that runs meanwhile would redirect; here none does", &["unenroll/the pair is to leave"]),
    in_forms(&["sequence"], "the switch goes off between SYN and answer, one step here", &["active/switch/it is on"]),
    always(
        "a second thread that sends on the socket; here there is one",
        &["own/references/it is in two maps", "underway/references/it is in two maps"],
    ),
    always("a pair that leaves a little later", &["underway/references/no thread is underway"]),
    in_forms(
        &["any"],
        "a callback takes a message by the stack, which has its pair leave: when it has been read, so have those before it, and no \
         later one is redirected",
        &["own/references/no thread is underway", "unenroll/own/our last message was alone"],
    ),
    always("the last look at the references asks the same", &["references/the second reference may be a map's"]),
    always(
        "a second thread that sends on the socket; here there is one: `tests/order` has two",
        &[
            "underway/a callback has seen that none is underway",
            "underway/the drain has seen that none is underway",
            "underway/few have been redirected for this",
            "underway/one has been redirected since",
            "underway/probe/there is memory",
        ],
    ),
    always("the drain has found it in the same run", &["seen_alone/it has a storage"]),
    always("nothing happens between two instructions", &["references/no reference came or went meanwhile"]),
    always(
        "the simulated kernel has no such callbacks",
        &[
            "foreign/it is paired",
            "foreign/restore_size/put_back/what the application has set since stays",
            "foreign/restore_size/its reader has not been woken",
        ],
    ),
    in_forms(
        &["calls", "waking", "loads", "paced", "watched", "named"],
        "no pair of these histories joins late: `tests/order` has such pairs",
        &[
            "late/both ends have been members from the start",
            "late/our first message has been read",
            "late/the first message of a pair that joined late takes the stack",
        ],
    ),
    always("both ends join in one step here: `tests/order` has schedules for it", &["late/the peer is a member"]),
    always("the stack takes every message here", &["late/our first message has been sent"]),
    always(
        "readers that ask FIONREAD and join late are in no history: tests/programs runs nginx",
        &[
            "spare_asker/its FIONREAD sees the stack's bytes",
            "spare_asker/epoll/the peer has a socket",
            "spare_asker/epoll/the peer has a file",
        ],
    ),
    always(
        "the same of what watches such a reader",
        &[
            "spare_asker/epoll/it watches this file",
            "spare_asker/epoll/edge/it is edge-triggered",
            "spare_asker/epoll/it is registered by no address",
            "spare_asker/epoll/it is registered by its descriptor",
        ],
    ),
    // A pair that leaves a few messages sooner or later: the tests of faults count them.
    always("a pair that leaves a little later", &["readers/it has not sent yet"]),
    always("a pair that leaves a little sooner", &["readers/and may set O_NONBLOCK before it does"]),
    // A look too many, or a pair that leaves a little sooner or later, does no harm.
    always("a pair that does not leave may know it as well", &["leaving/the pair is to leave"]),
    always("all is read, and no probes are to be given up: it is looked at once more", &["packet/it may be armed"]),
    always(
        "a reader that is notified once too often",
        &["left/unread/bytes of the stack are unread", "watch/it is armed"],
    ),
    always("a socket that is armed for nothing", &["watch/unread/bytes of the stack are unread"]),
    always(
        "the pair leaves as well, although only the switch is off: it is not accelerated again",
        &["deferral/nothing speaks for the stack and the reader is woken again"],
    ),
    in_forms(
        &["calls", "waking", "loads", "paced", "any"],
        "a message that is to take the stack is redirected behind others that a reader is notified of again",
        &["deferral/nothing speaks for the stack while messages wait"],
    ),
    in_forms(
        &["paced"],
        "it takes the stack in any case, and is counted for another reason",
        &["deferral/nothing speaks for the stack and the reader has its events"],
    ),
    always(
        "its times are short enough: it is only noted as probing for us, which changes nothing",
        &["times/and often enough"],
    ),
    always("what we have not set is not what the configuration says", &["give_back/we have set its times"]),
    // A sender that is armed, and an armed peer: the tests of stalls and of faults measure how long they wait.
    always(
        "a sender whose window is closed, which has no window here: the tests of stalls measure how long it waits",
        &[
            "packet/no data, whose sender may have to be armed",
            "watch/what it sends takes the stack",
            "watch/redirected messages were unread when the last one looked",
        ],
    ),
    in_forms(
        &["paced"],
        "the histories have one window, larger than ours, which nothing else sets",
        &["narrow/the window may take more", "window_back/it is still ours"],
    ),
    in_forms(&["paced"], "without ours, the kernel's clamp is not 0", &["window_back/the window has our clamp"]),
    in_forms(
        &["paced"],
        "how fast a stream goes, which no history measures: `sidestep bench --streams auto` does",
        &["backpressure/messages of this size can gain something"],
    ),
    always(
        "our own socket lives while its callback runs",
        &["keep_closed/probe/there is memory", "put_back/probe/there is memory"],
    ),
    // Before Linux 6.15 alone: `tests/stall` in the guests measures what it is for.
    always(
        "a window that is offered later or sooner, or a buffer whose size is fixed for nothing",
        &[
            "keep_closed/its probes are ours",
            "keep_closed/its sender cannot be made to ask every second",
            "keep_closed/a packet is made",
            "keep_closed/it carries no data",
            "keep_closed/the buffer grows",
            "keep_closed/any setsockopt can set this size",
            "keep_closed/it is the size that we have fixed",
            "keep_closed/the window is closed",
            "keep_closed/there is room for an option",
        ],
    ),
    always("a buffer always has a size", &["put_back/it had a size"]),
    always(
        "the answer to the packet brings a callback, which arms the socket again",
        &["written/its reader has been woken"],
    ),
    always(
        "a member that is disarmed too soon still has callbacks, of which the next one gives its buffer the size back",
        &["watch/own_size/its buffer is small"],
    ),
    always("a socket that closes reads no more", &["state/put_back/what the application has set since stays"]),
    always(
        "the next check asks the same, and no buffer has a size of 0",
        &["written/its buffer was small", "restore_size/its buffer was small", "put_back/its buffer is small"],
    ),
    always(
        "nothing can set a size between the two callbacks of a packet: the socket is locked",
        &["written/put_back/what the application has set since stays"],
    ),
    always("its settings would stay when the program goes", &["unenroll/an armed peer is waited for"]),
    // The programs that run over all sockets.
    always(
        "both are null together, in the call that ends the iteration: the other check asks the same",
        &[
            "drain/there is a key",
            "drain/there is a socket",
            "of_storage/there is a socket",
            "of_storage/it has a storage",
        ],
    ),
    always(
        "the socket lives while the iterator is at it, and so does what the kernel keeps for it",
        &[
            "drain/psock/probe/there is memory",
            "drain/references/probe/there is memory",
            "drain/queue/probe/there is memory",
            "tally/probe/there is memory",
            "addresses/probe/there is memory",
            "cgroups/probe/there is memory",
        ],
    ),
    always(
        "the peer of a socket may be gone: then its cookie, or its count of references, reads as 0",
        &[
            "drain/sender/probe/there is memory",
            "drain/sender/psock/probe/there is memory",
            "drain/sender/references/probe/there is memory",
            "drain/since/probe/there is memory",
        ],
    ),
    always(
        "a socket whose peer is gone may have to wait for another's messages, and leaves when it closes",
        &["drain/sender/the peer's storage is still the peer's"],
    ),
    always(
        "a socket in our map has a psock, and a storage",
        &[
            "drain/psock/it is in a sockhash",
            "drain/leaves/it has a storage",
            "drain/sender/it has a storage",
            "receives/the socket has a storage",
        ],
    ),
    in_forms(
        &["loads"],
        "an end that waits has no peer: at address 0 no psock is found",
        &["drain/sender/it is paired"],
    ),
    in_forms(
        &["any"],
        "where readers that block are served, the agent has waited for every message that is underway before it drains",
        &["drain/sender/references/no thread is underway", "drain/sender/references/it is in two maps"],
    ),
    // Pairs that the agent has marked.
    always(
        "a socket that is to leave, is in no sockhash and is not marked joins it later: tests/splice has such sockets",
        &["unenroll/own/the agent has marked us"],
    ),
    in_forms(
        &["any"],
        "where readers that block are served, a message that takes the stack has its pair leave, marked or not",
        &["unenroll/what the agent has marked is to leave"],
    ),
    always("nothing happens between two instructions", &["drain/since/the peer has not sent meanwhile"]),
    always("an entry that the iterator is at is there; only a counter would err", &["drain/it was there"]),
    always(
        "a per-CPU array has all its elements; the verifier refuses the mutant, which takes the types of a kernel to show",
        &["drain/count/there are counters", "tally/count/there are counters"],
    ),
    always(
        "what our programs have put into the sockhash has storage; the verifier refuses the mutant here, too",
        &["members/of_member/it has a storage"],
    ),
    // Adoption.
    always(
        "the socket lives while its setsockopt(2) runs",
        &[
            "open/probe/there is memory",
            "look/probe/there is memory",
            "same/probe/there is memory",
            "want_callbacks/probe/there is memory",
            "particulars/probe/there is memory",
            "give_callbacks_back/probe/there is memory",
            "turn_off/probe/there is memory",
        ],
    ),
    always(
        "there is always memory here, what has been looked at has a storage, and a per-CPU array has all its elements; the verifier \
         refuses the mutants",
        &[
            "look/there is memory for its storage",
            "change/it has a storage",
            "pair/count/there are counters",
            "output/count/there are counters",
        ],
    ),
    always(
        "a socket that connects again between two steps, after connect(AF_UNSPEC), which none does here",
        &["same/its initial number is the same"],
    ),
    always("every socket has a number", &["particulars/it has a number"]),
    always(
        "an end that is in no sockhash is not armed in any history, and so its buffer is never small",
        &[
            "change/put_back/what the application has set since stays",
            "change/its reader need not be woken",
            "change/disarm/keepalive was off",
        ],
    ),
    always("the agent asks this of an end that has answered so", &["change/it is one of a pair"]),
    always(
        "the key of an answer is the client's number, before and after",
        &["particulars/the key of its answer is not needed"],
    ),
    always("a socket that has left has given its settings back", &["change/it has its own settings back"]),
    in_forms(
        &["waking", "loads", "paced"],
        "only redirected bytes let a callback arm an end here, and none are redirected to one that is given back",
        &["change/disarm/keepalive was off"],
    ),
    in_forms(
        &["waking", "loads", "paced", "named"],
        "where nothing watches readers, none is found to read in another way",
        &["change/its reader may be served"],
    ),
    // The programs that watch readers.
    always("the peer's storage lives, whose cookie the gate has just compared", &["received/probe/there is memory"]),
    always(
        "the thread that receives or splices lives, and so does the socket that it has called",
        &[
            "receives/receive/probe/there is memory",
            "lookup/probe/there is memory",
            "splices/probe/there is memory",
            "splices/socket/probe/there is memory",
            "splices/wait/probe/there is memory",
            "describe/probe/there is memory",
            "address/probe/there is memory",
        ],
    ),
    always(
        "the thread that calls lives, and so do its files; address 0 has no memory, so that a closed descriptor ends the next load",
        &["call/probe/there is memory", "call/it is open"],
    ),
    always(
        "the ring buffer has room here; the agent is asked again after 256 receives",
        &["join/there was room for the event"],
    ),
    // Policies.
    always(
        "a socket of a cgroup that opts out is marked once more in a later callback",
        &["opt_out/an active end is established", "opt_out/or a passive one"],
    ),
    in_forms(
        &["named"],
        "where nothing watches readers, the mark is looked at only once",
        &["trusted/an active end is established", "trusted/or a passive one"],
    ),
    in_forms(
        &["named"],
        "a cgroup that opts out is not trusted by name, which the next check asks",
        &["opt_out/it is not marked"],
    ),
    in_forms(
        &["named"],
        "who has a storage by then is of a cgroup that is marked, or connects again, which the semantics tests have; and those that \
         opt out are refused before",
        &["named/its cgroup is trusted"],
    ),
    always("two threads that call for the first time at once", &["enter/no other thread of it was first"]),
    always(
        "every socket of these histories is one of TCP over IPv4; tests/splice has others",
        &["splices/there is a socket", "splices/it is one of TCP", "splices/its addresses are IPv4", "splices/or IPv6"],
    ),
    always("one more event, and one more look at each process", &["splices/process/it was none before"]),
    always(
        "an entry for a socket that never becomes a member, since it was none when it was established",
        &["splices/socket/it is in a sockhash"],
    ),
    always("a member has a number, by which our programs know it", &["splices/socket/it has a number"]),
    always(
        "the agent destroys a connection while the program looks; here it does so afterwards",
        &["wait/the connection lives"],
    ),
    // What does not happen in these histories.
    always(
        "the storage of a peer that is gone belongs to one that leaves at that time",
        &["unenroll/the peer's storage is still the peer's"],
    ),
    always(
        "a socket that connects again, after connect(AF_UNSPEC): the semantics tests have it",
        &["own_storage/a socket that connects again leaves first", "forget/it may be in the sockhash"],
    ),
    always("an LRU map always has room", &["active/one without a record leaves again"]),
    always(
        "a client that asks for its first window, and would leave a useless record",
        &["request/it is a listener's request"],
    ),
    always(
        "programs that are replaced in place, and have not told the listener of the connection's last receives",
        &["state/short/it has received too seldom to gain"],
    ),
    in_forms(
        &["joining"],
        "the same: an end that joins later and has gained has told its listener before",
        &["state/short/there is a listener"],
    ),
];
