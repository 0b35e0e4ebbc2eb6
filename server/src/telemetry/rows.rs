//! What was told, with numbers in the place of names: the rows of the journal.

use tidemark_domain::sketch::{put, take};

/// One thing that was told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Row {
    /// Requests.
    Traffic(Traffic),
    /// A sample of what a node uses.
    Sample(Sample),
}

/// Requests that are alike: one entry of a log, or what a counter grew by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// The minute that they count for, since the epoch.
    pub minute: i64,
    /// Whose.
    pub scope: u32,
    /// Who served them; 0 where nobody knows.
    pub node: u32,
    /// The service; 0 for none.
    pub service: u32,
    /// The route; 0 for none.
    pub route: u32,
    /// The consumer; 0 for none.
    pub consumer: u32,
    /// The application; 0 for none.
    pub application: u32,
    /// The status that clients got; 0 where it is not known.
    pub status: u16,
    /// How many: 0 where this tells only how long they took.
    pub requests: u64,
    /// How many took as long as below: 0 where this tells only how many there were.
    pub observed: u64,
    /// Bytes that clients sent.
    pub bytes_in: u64,
    /// Bytes that clients got.
    pub bytes_out: u64,
    /// From the first byte to the last, in milliseconds.
    pub total_ms: Option<f32>,
    /// What the gateway took of that.
    pub gateway_ms: Option<f32>,
    /// What the upstream took of that.
    pub upstream_ms: Option<f32>,
}

/// What a node used at some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// The minute that it was in, since the epoch.
    pub minute: i64,
    /// Whose.
    pub scope: u32,
    /// Which node.
    pub node: u32,
    /// What of.
    pub resource: u32,
    /// How much, in base units (bytes, connections, thousandths of a core).
    pub value: u64,
}

const TOTAL: u64 = 1;
const GATEWAY: u64 = 2;
const UPSTREAM: u64 = 4;
const SAMPLE: u64 = 8;

impl Row {
    /// The minute that it counts for.
    #[must_use]
    pub const fn minute(&self) -> i64 {
        match self {
            Self::Traffic(traffic) => traffic.minute,
            Self::Sample(sample) => sample.minute,
        }
    }

    /// The same in another minute.
    #[must_use]
    pub const fn in_minute(mut self, to: i64) -> Self {
        match &mut self {
            Self::Traffic(traffic) => traffic.minute = to,
            Self::Sample(sample) => sample.minute = to,
        }
        self
    }

    /// Appends the row as bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Traffic(traffic) => traffic.write(out),
            Self::Sample(sample) => sample.write(out),
        }
    }

    /// Reads what was written, and leaves what follows. `None` if it is not that.
    pub fn read(bytes: &mut &[u8]) -> Option<Self> {
        let flags = take(bytes)?;
        let minute = i64::try_from(take(bytes)?).ok()?;
        let mut name = || u32::try_from(take(bytes)?).ok();
        let (scope, node) = (name()?, name()?);
        if flags & SAMPLE != 0 {
            let resource = name()?;
            return Some(Self::Sample(Sample { minute, scope, node, resource, value: take(bytes)? }));
        }
        let [service, route, consumer, application] = [name()?, name()?, name()?, name()?];
        let status = u16::try_from(take(bytes)?).ok()?;
        let [requests, observed] = [take(bytes)?, take(bytes)?];
        let [bytes_in, bytes_out] = [take(bytes)?, take(bytes)?];
        let mut latency = |flag: u64| -> Option<Option<f32>> {
            if flags & flag == 0 {
                return Some(None);
            }
            let (four, rest) = bytes.split_first_chunk::<4>()?;
            *bytes = rest;
            Some(Some(f32::from_le_bytes(*four)))
        };
        Some(Self::Traffic(Traffic {
            minute,
            scope,
            node,
            service,
            route,
            consumer,
            application,
            status,
            requests,
            observed,
            bytes_in,
            bytes_out,
            total_ms: latency(TOTAL)?,
            gateway_ms: latency(GATEWAY)?,
            upstream_ms: latency(UPSTREAM)?,
        }))
    }
}

impl Traffic {
    fn write(&self, out: &mut Vec<u8>) {
        let latencies = [(TOTAL, self.total_ms), (GATEWAY, self.gateway_ms), (UPSTREAM, self.upstream_ms)];
        put(out, latencies.iter().filter(|(_, ms)| ms.is_some()).map(|(flag, _)| flag).sum());
        put(out, self.minute.unsigned_abs());
        for number in [self.scope, self.node, self.service, self.route, self.consumer, self.application] {
            put(out, u64::from(number));
        }
        put(out, u64::from(self.status));
        [self.requests, self.observed, self.bytes_in, self.bytes_out].into_iter().for_each(|number| put(out, number));
        latencies.into_iter().filter_map(|(_, ms)| ms).for_each(|ms| out.extend_from_slice(&ms.to_le_bytes()));
    }
}

impl Sample {
    fn write(&self, out: &mut Vec<u8>) {
        put(out, SAMPLE);
        put(out, self.minute.unsigned_abs());
        [self.scope, self.node, self.resource].into_iter().for_each(|number| put(out, u64::from(number)));
        put(out, self.value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row() -> impl Strategy<Value = Row> {
        let traffic = (any::<[u32; 6]>(), any::<[u64; 4]>(), any::<u16>(), 0..1_i64 << 40, any::<[Option<f32>; 3]>());
        let traffic = traffic.prop_map(|(names, numbers, status, minute, latencies)| {
            let [scope, node, service, route, consumer, application] = names;
            let [requests, observed, bytes_in, bytes_out] = numbers;
            let [total_ms, gateway_ms, upstream_ms] = latencies.map(|ms| ms.filter(|ms| !ms.is_nan()));
            Row::Traffic(Traffic {
                minute,
                scope,
                node,
                service,
                route,
                consumer,
                application,
                status,
                requests,
                observed,
                bytes_in,
                bytes_out,
                total_ms,
                gateway_ms,
                upstream_ms,
            })
        });
        let sample = (0..1_i64 << 40, any::<[u32; 3]>(), any::<u64>()).prop_map(|(minute, names, value)| {
            let [scope, node, resource] = names;
            Row::Sample(Sample { minute, scope, node, resource, value })
        });
        prop_oneof![traffic, sample]
    }

    proptest! {
        #[test]
        fn rows_are_read_as_they_were_written(rows in prop::collection::vec(row(), 0..20)) {
            let mut bytes = Vec::new();
            rows.iter().for_each(|row| row.write(&mut bytes));
            let mut rest = bytes.as_slice();
            let read: Vec<Row> = std::iter::from_fn(|| if rest.is_empty() { None } else { Row::read(&mut rest) }).collect();
            prop_assert_eq!(read, rows);
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Row::read(&mut bytes.as_slice());
        }
    }
}
