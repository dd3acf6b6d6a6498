//! The two queues over a real protocol connection and an in-memory socket.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::io::{AsyncReadExt, DuplexStream};
use wharf_protocol::{Connection, Keepalive, Message, MessageKind, Role};

use super::*;
use crate::wire::{Socket, Wire};

const CONFIG: OutboxConfig = OutboxConfig {
    outbox_bytes_max: 1000,
    message_bytes_max: 5000,
    write_timeout: Duration::from_millis(20),
    slow_consumer_timeout: Duration::from_secs(30),
};

fn lane() -> Rc<Lane> {
    Rc::new(Lane::new(std::time::Instant::now(), 7, 0, 1))
}

/// A session whose socket holds `socket_bytes`.
fn session(lane: &Rc<Lane>, socket_bytes: usize) -> (Outbox, DuplexStream) {
    session_as(Role::Server, lane, socket_bytes)
}

/// The same from either end.
fn session_as(role: Role, lane: &Rc<Lane>, socket_bytes: usize) -> (Outbox, DuplexStream) {
    let (near, far) = tokio::io::duplex(socket_bytes);
    let now = lane.clock.now();
    let connection = Connection::new(role, Arc::default(), Keepalive::default(), None, now, 1);
    let outbox = Outbox::new(OutboxParts {
        id: lane.next_session(),
        wire: Wire::new(Socket::Memory(near), connection),
        route: RouteLane::uncounted(lane, CONFIG),
        request: None,
        subprotocol: None,
        may_wait: true,
        facts: None,
        is_opened: role == Role::Client,
    });
    (outbox, far)
}

fn send(outbox: &Outbox, bytes: usize) -> Result<(), SendError> {
    outbox.try_send(MessageKind::Binary, &vec![1; bytes])
}

#[tokio::test(flavor = "current_thread")]
async fn what_a_call_sends_leaves_in_one_write() {
    let lane = lane();
    let (outbox, mut peer) = session(&lane, 4096);
    for _ in 0..3 {
        assert_eq!(send(&outbox, 10), Ok(()));
    }
    let mut buffer = [0; 100];
    let mut context = Context::from_waker(Waker::noop());
    let mut read = tokio::io::ReadBuf::new(&mut buffer);
    let early = tokio::io::AsyncRead::poll_read(std::pin::pin!(&mut peer), &mut context, &mut read);
    assert!(early.is_pending(), "corked until the call ends");
    lane.cork.release();
    assert_eq!(peer.read(&mut buffer).await.expect("a read"), 36);
}

#[tokio::test(flavor = "current_thread")]
async fn a_full_outbox_refuses_and_takes_again_once_it_was_written() {
    let lane = lane();
    let (outbox, mut peer) = session(&lane, 100);
    assert_eq!(send(&outbox, 5001), Err(SendError::TooLarge(5000)));
    assert_eq!(send(&outbox, 3000), Ok(()), "one message always fits");
    assert_eq!(send(&outbox, 10), Err(SendError::Full));
    assert!(outbox.is_above_high_water(&outbox.wire()));
    tokio::select! {
        () = lane.clock.run() => unreachable!("the clock runs for ever"),
        refused = outbox.room_for(10) => assert_eq!(refused, Err(SendError::Full)),
    }

    let mut buffer = vec![0; 4000];
    let mut read = 0;
    while outbox.queued_bytes() > 0 {
        read += peer.read(&mut buffer).await.expect("a read");
        let flushed = outbox
            .wire()
            .poll_flush(&mut Context::from_waker(Waker::noop()), &lane.buffers);
        assert!(!matches!(flushed, Poll::Ready(Err(_))));
    }
    assert!(read > 2900, "{read}");
    assert_eq!(send(&outbox, 10), Ok(()));
}

#[tokio::test(flavor = "current_thread")]
async fn a_slow_reader_is_cut_when_its_time_is_up_and_not_before() {
    let lane = lane();
    let (outbox, _peer) = session(&lane, 100);
    assert_eq!(send(&outbox, 3000), Ok(()));
    lane.cork.release();
    let now = lane.clock.now();
    let follow = |progress, seconds| {
        let wire = outbox.wire();
        outbox.follow_reader(&wire, progress, now + Duration::from_secs(seconds))
    };
    assert_eq!(follow(false, 0), SlowReader::Yes);
    assert_eq!(follow(true, 29), SlowReader::Yes);
    assert_eq!(
        follow(true, 30),
        SlowReader::Cut,
        "over its bound, progress does not count"
    );
}

/// Counts how often it was woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn the_time_of_a_slow_reader_begins_also_while_the_task_waits_for_the_socket() {
    let lane = lane();
    let (outbox, _peer) = session(&lane, 100);
    let bell = Arc::new(Bell::default());
    let task = Waker::from(Arc::clone(&bell));
    let rung = || bell.0.swap(0, Ordering::Relaxed);
    // What the session's task does when it is woken.
    let turn = || {
        let mut context = Context::from_waker(&task);
        outbox.register(&context);
        let mut wire = outbox.wire();
        assert!(wire.poll_flush(&mut context, &lane.buffers).is_pending());
        outbox.follow_reader(&wire, false, lane.clock.now())
    };
    assert_eq!(send(&outbox, 200), Ok(()));
    lane.cork.release();
    assert_eq!(turn(), SlowReader::No);
    assert_eq!((rung(), outbox.slow_until()), (0, None));
    // The socket takes nothing more, so nothing but this wakes the task.
    assert_eq!(send(&outbox, 600), Ok(()));
    lane.cork.release();
    assert_eq!(rung(), 1);
    assert_eq!(turn(), SlowReader::Yes);
    assert!(outbox.slow_until().is_some());
    assert_eq!(send(&outbox, 10), Ok(()));
    lane.cork.release();
    assert_eq!(rung(), 0, "it knows");
}

#[tokio::test(flavor = "current_thread")]
async fn what_waits_of_a_session_can_be_thrown_away() {
    let lane = lane();
    let inbox: Inbox<()> = Inbox::new();
    let (gone, _peer) = session(&lane, 100);
    let (stays, _peer) = session(&lane, 100);
    let push = |outbox: &Outbox, text: &str| {
        let pushed = inbox.push_message(outbox, Incoming::Lent(Message::Text(text)));
        assert_eq!(pushed, Ok(()));
    };
    push(&gone, "alone");
    assert_eq!(inbox.push(Work::Vacated), Ok(()));
    push(&gone, "a");
    push(&stays, "b");
    let long = Incoming::Owned(MessageKind::Binary, vec![1; 3000]);
    assert_eq!(inbox.push_message(&gone, long), Ok(()));
    push(&stays, "c");
    inbox.discard(&gone);
    assert_eq!(gone.in_flight_bytes(), 0);
    assert!(matches!(inbox.next().await, Work::Vacated));
    let Work::Messages(batch) = inbox.next().await else {
        panic!("messages come next")
    };
    let got: Vec<_> = batch
        .iter()
        .map(|(id, message)| (id, message.payload().to_vec()))
        .collect();
    let id = stays.id();
    assert_eq!(got, [(id, b"b".to_vec()), (id, b"c".to_vec())]);
    inbox.finish(batch);
    assert_eq!(stays.in_flight_bytes(), 0);
    assert!(inbox.take().is_none());
}

#[tokio::test(flavor = "current_thread")]
async fn messages_that_follow_each_other_are_one_batch() {
    let lane = lane();
    let inbox: Inbox<()> = Inbox::new();
    let (first, _peer) = session(&lane, 100);
    let (second, _peer) = session(&lane, 100);
    assert_eq!(inbox.push(Work::Open(first.clone())), Ok(()));
    for (outbox, text) in [(&first, "a"), (&second, "b"), (&first, "c")] {
        assert_eq!(
            inbox.push_message(outbox, Incoming::Lent(Message::Text(text))),
            Ok(())
        );
    }
    assert!(matches!(inbox.next().await, Work::Open(_)));
    let Work::Messages(batch) = inbox.next().await else {
        panic!("messages come next")
    };
    let got: Vec<_> = batch
        .iter()
        .map(|(id, message)| (id, message.payload().to_vec()))
        .collect();
    let (one, two) = (first.id(), second.id());
    assert_eq!(
        got,
        [
            (one, b"a".to_vec()),
            (two, b"b".to_vec()),
            (one, b"c".to_vec())
        ]
    );
    assert!(first.in_flight_bytes() > 0);
    inbox.finish(batch);
    assert_eq!((first.in_flight_bytes(), second.in_flight_bytes()), (0, 0));
}

#[tokio::test(flavor = "current_thread")]
async fn a_session_with_too_much_unfinished_is_not_read() {
    let lane = lane();
    let inbox: Inbox<()> = Inbox::new();
    let (greedy, _peer) = session(&lane, 100);
    let (modest, _peer) = session(&lane, 100);
    while inbox.has_room(&greedy) {
        assert_eq!(
            inbox.push_message(&greedy, Incoming::Lent(Message::Binary(&[0; 1000]))),
            Ok(())
        );
    }
    assert!(
        greedy.in_flight_bytes() < 70_000,
        "{}",
        greedy.in_flight_bytes()
    );
    assert!(inbox.has_room(&modest), "the others are");
    assert_eq!(
        inbox.push_message(
            &modest,
            Incoming::Owned(MessageKind::Binary, vec![0; 2_000_000])
        ),
        Ok(())
    );
    let (third, _peer) = session(&lane, 100);
    assert!(
        !inbox.has_room(&third),
        "unless the instance has too much in all"
    );
    inbox.abandon();
    assert_eq!(
        greedy.in_flight_bytes(),
        0,
        "an instance that is gone owes nothing"
    );
    assert_eq!(
        inbox.push_message(&modest, Incoming::Lent(Message::Binary(b""))),
        Err(InboxClosed)
    );
}

#[tokio::test(flavor = "current_thread")]
async fn an_instance_reaches_its_own_sessions_only() {
    let lane = lane();
    let (mine, _peer) = session(&lane, 100);
    let (other, _peer) = session(&lane, 100);
    let members = Members::default();
    members.insert(mine.clone());
    assert!(members.get(other.id()).is_none());
    assert_eq!(members.find(&mine.name()), Some(mine.id()));
    assert_eq!(members.find(&other.name()), None);
    mine.change_facts(|facts| facts.set_tags(vec!["blue".into()]))
        .expect("within the limits");
    assert_eq!(members.list(Some("blue")), [mine.id()]);
    assert!(members.list(Some("red")).is_empty());
    members.remove(mine.id());
    assert_eq!(members.count(), 0);
}

#[tokio::test(flavor = "current_thread")]
async fn what_a_guest_opened_is_none_of_its_clients() {
    let lane = lane();
    let members = Members::default();
    let (client, _peer) = session(&lane, 64);
    let (upstream, _peer) = session_as(Role::Client, &lane, 64);
    for alone in [&upstream, &client] {
        members.insert(alone.clone());
        assert_eq!(members.find(&alone.name()), Some(alone.id()));
        members.remove(alone.id()).expect("it was bound");
    }
    members.insert(client.clone());
    members.insert(upstream.clone());
    assert_eq!(members.list(None), [client.id()]);
    assert_eq!(members.list_opened(None), [upstream.id()]);
    assert!(members.list_opened(Some("tag")).is_empty());
    assert_eq!((members.count(), members.count_opened()), (1, 1));
    for session in [&client, &upstream] {
        assert!(members.get(session.id()).is_some());
        assert_eq!(members.find(&session.name()), Some(session.id()));
    }
    let ids = |sessions: Vec<Outbox>| sessions.iter().map(Outbox::id).collect::<Vec<_>>();
    assert_eq!(ids(members.all()), [client.id(), upstream.id()]);
    assert_eq!(ids(members.opened()), [upstream.id()]);
    assert!(members.remove(upstream.id()).is_some());
    assert_eq!((members.count(), members.count_opened()), (1, 0));
}

#[tokio::test(flavor = "current_thread")]
async fn members_are_the_same_set_however_they_are_kept() {
    let lane = lane();
    let members = Members::default();
    let sessions: Vec<_> = (0..20).map(|_| session(&lane, 64).0).collect();
    let ids: Vec<u64> = sessions.iter().map(Outbox::id).collect();
    for up_to in [1, 2, 3, 20] {
        // The last first: the order is that of the numbers.
        for outbox in sessions[..up_to].iter().rev() {
            members.insert(outbox.clone());
        }
        assert_eq!(members.list(None), ids[..up_to]);
        assert_eq!(members.count(), up_to);
        assert!(members.get(ids[up_to - 1]).is_some() && members.get(0).is_none());
        assert!(members.remove(0).is_none());
        for id in &ids[..up_to] {
            assert_eq!(members.remove(*id).map(|outbox| outbox.id()), Some(*id));
            assert!(members.remove(*id).is_none());
        }
        assert_eq!((members.list(None), members.count()), (vec![], 0));
    }
}

#[test]
fn a_batch_of_short_messages_of_one_kind_can_be_packed() {
    let lane = lane();
    let (outbox, _peer) = session(&lane, 100);
    let (other, _other_peer) = session(&lane, 100);
    let packed = |messages: &[(&Outbox, Message<'_>)]| {
        let mut batch = Batch::default();
        for (outbox, message) in messages {
            batch.push(outbox, Incoming::Lent(*message));
        }
        let packed = batch.packed();
        let owned = packed.map(|(index, payloads)| (index.to_vec(), payloads.to_vec()));
        (owned, batch.only_session())
    };
    let (first, second) = (outbox.id(), other.id());
    let texts = [
        (&outbox, Message::Text("ab")),
        (&other, Message::Text("")),
        (&outbox, Message::Text("c")),
    ];
    let index = vec![first, 2 << 1 | 1, second, 1, first, 1 << 1 | 1];
    assert_eq!(packed(&texts), (Some((index, b"abc".to_vec())), None));
    let binary = [(&outbox, Message::Binary(b"abc"))];
    let index = vec![first, 3 << 1];
    assert_eq!(
        packed(&binary),
        (Some((index, b"abc".to_vec())), Some(first))
    );
    let mixed = [
        (&outbox, Message::Text("a")),
        (&outbox, Message::Binary(b"b")),
    ];
    assert_eq!(packed(&mixed), (None, Some(first)));
}

#[test]
fn a_lent_read_buffer_goes_back_when_its_message_is_finished() {
    let lane = lane();
    let (outbox, _peer) = session(&lane, 100);
    let inbox = Inbox::<()>::new();
    let lend = || lane.buffers.lend_read(&mut lane.buffers.read());
    let mut lent = Vec::new();
    while let Some(mut buffer) = lend() {
        buffer[3..6].copy_from_slice(b"abc");
        lent.push(buffer);
    }
    let all = lent.len();
    for buffer in lent {
        let message = Incoming::InPlace(buffer, 3..6);
        assert_eq!(inbox.push_message(&outbox, message), Ok(()));
    }
    let Some(Work::Messages(batch)) = inbox.take() else {
        panic!("a batch waits");
    };
    assert!(batch.packed().is_none());
    let messages: Vec<_> = batch.iter().collect();
    assert_eq!(messages.len(), all);
    assert!(
        messages
            .iter()
            .all(|(_, message)| *message == Message::Binary(b"abc"))
    );
    drop(messages);
    assert!(lend().is_none(), "the call may still read them");
    inbox.finish(batch);
    assert_eq!(outbox.in_flight_bytes(), 0);
    let again: Vec<_> = std::iter::from_fn(lend).collect();
    assert_eq!(again.len(), all);
}

#[tokio::test(flavor = "current_thread")]
async fn what_a_long_call_sends_waits_through_a_few_of_its_pauses() {
    let lane = lane();
    let (outbox, mut peer) = session(&lane, 4096);
    let mut buffer = [0; 100];
    let mut pauses = 0;
    assert_eq!(send(&outbox, 10), Ok(()));
    while outbox.queued_bytes() > 0 {
        lane.cork.pause();
        pauses += 1;
    }
    assert_eq!(pauses, 8);
    assert_eq!(peer.read(&mut buffer).await.expect("a read"), 12);
    assert_eq!(send(&outbox, 10), Ok(()));
    lane.cork.pause();
    assert!(outbox.queued_bytes() > 0, "they are counted anew");
    lane.cork.release();
    assert_eq!(outbox.queued_bytes(), 0);
}

#[test]
fn a_batch_that_something_was_taken_out_of_is_not_packed() {
    let lane = lane();
    let (leaves, _peer) = session(&lane, 100);
    let (stays, _other_peer) = session(&lane, 100);
    let inbox = Inbox::<()>::new();
    let put = |outbox: &Outbox, payload: &[u8]| {
        let message = Incoming::Lent(Message::Binary(payload));
        assert_eq!(inbox.push_message(outbox, message), Ok(()));
    };
    put(&leaves, b"secret");
    put(&stays, b"a");
    inbox.discard(&leaves);
    put(&stays, b"b");
    let Some(Work::Messages(batch)) = inbox.take() else {
        panic!("a batch waits");
    };
    assert_eq!(batch.packed(), None);
    let left: Vec<_> = batch.iter().collect();
    let id = stays.id();
    assert_eq!(
        left,
        [(id, Message::Binary(b"a")), (id, Message::Binary(b"b"))]
    );
}
