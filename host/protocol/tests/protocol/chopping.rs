//! Whatever the reads cut a stream into, a connection sees the same.

use proptest::prelude::*;

use crate::scripts;
use crate::targets::{Setup, frames};

/// What the peer of such a connection sends: the last bit chooses a client's role.
fn said_to(setup: u8, frames: &[scripts::Frame]) -> Vec<u8> {
    if setup & 1 == 0 {
        scripts::stream(frames)
    } else {
        scripts::plain_stream(frames)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_chopping_of_a_stream_gives_the_same_events(
        setup in any::<u8>(),
        messages in prop::collection::vec(scripts::message(), 0..6),
        last in scripts::last(),
        pieces in prop::collection::vec(1_usize..200, 1..20),
    ) {
        let stream = said_to(setup, &[messages.concat(), last].concat());
        let setup = Setup(setup);
        let whole = setup.run(&stream, &[]);
        prop_assert_eq!(&whole, &setup.run(&stream, &[1]));
        prop_assert_eq!(&whole, &setup.run(&stream, &pieces));
    }

    #[test]
    fn any_chopping_of_any_bytes_gives_the_same_events(
        data in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        frames(&data);
    }

    #[test]
    fn any_chopping_of_changed_bytes_gives_the_same_events(
        setup in any::<u8>(),
        messages in prop::collection::vec(scripts::message(), 1..4),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut data = vec![setup, 3, 17];
        data.extend(said_to(setup, &messages.concat()));
        for (index, byte) in changes {
            let index = 3 + index.index(data.len() - 3);
            data[index] = byte;
        }
        frames(&data);
    }
}
