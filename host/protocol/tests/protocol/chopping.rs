//! Whatever the reads cut a stream into, a connection sees the same.

use proptest::prelude::*;

use crate::scripts;
use crate::targets::{Setup, frames};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_chopping_of_a_stream_gives_the_same_events(
        setup in any::<u8>(),
        messages in prop::collection::vec(scripts::message(), 0..6),
        last in scripts::last(),
        pieces in prop::collection::vec(1_usize..200, 1..20),
    ) {
        let setup = Setup(setup & !1);
        let stream = scripts::stream(&[messages.concat(), last].concat());
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
        let mut data = vec![setup & !1, 3, 17];
        data.extend(scripts::stream(&messages.concat()));
        for (index, byte) in changes {
            let index = 3 + index.index(data.len() - 3);
            data[index] = byte;
        }
        frames(&data);
    }
}
