//! Latencies in buckets: 32 to each power of two, so that a figure is right to
//! three percent and recording costs a few instructions.

const STEPS_BITS: u32 = 5;
const STEPS: usize = 1 << STEPS_BITS;

pub(crate) struct Latencies {
    /// Nanoseconds, in buckets.
    counts: Vec<u64>,
    total: u64,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; 64 * STEPS],
            total: 0,
        }
    }

    pub(crate) fn record(&mut self, nanoseconds: u64, times: usize) {
        self.counts[bucket(nanoseconds)] += times as u64;
        self.total += times as u64;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    /// Microseconds that `share` of all needed at most; 0 if there are none.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let wanted = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return middle(bucket) / 1000.0;
            }
        }
        0.0
    }
}

fn bucket(nanoseconds: u64) -> usize {
    if nanoseconds < STEPS as u64 {
        return nanoseconds as usize;
    }
    let power = nanoseconds.ilog2();
    let step = (nanoseconds >> (power - STEPS_BITS)) as usize - STEPS;
    (power - STEPS_BITS + 1) as usize * STEPS + step
}

/// Nanoseconds in the middle of a bucket.
fn middle(bucket: usize) -> f64 {
    if bucket < STEPS {
        return bucket as f64;
    }
    let width = (1u64 << (bucket / STEPS - 1)) as f64;
    (STEPS + bucket % STEPS) as f64 * width + width / 2.0
}

#[cfg(test)]
mod tests {
    use super::{Latencies, bucket, middle};

    #[test]
    fn a_bucket_is_near_its_values() {
        for value in [0, 1, 31, 32, 33, 1_000, 123_456, 9_876_543_210] {
            let near = middle(bucket(value));
            let off = (near - value as f64).abs();
            assert!(off <= value as f64 * 0.03, "{value} became {near}");
        }
    }

    #[test]
    fn percentiles_count_repeated_values() {
        let mut latencies = Latencies::new();
        latencies.record(1_000, 99);
        latencies.record(1_000_000, 1);
        assert!(latencies.percentile(0.5) < 1.1);
        assert!(latencies.percentile(0.99) < 1.1);
        assert!(latencies.percentile(1.0) > 900.0);
        assert!(Latencies::new().percentile(0.5) == 0.0);
    }
}
