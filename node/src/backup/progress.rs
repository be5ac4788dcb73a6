//! How far a backup or a restore is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytesize::ByteSize;

/// Counts blobs and bytes that are dealt with.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    blobs: AtomicU64,
    bytes: AtomicU64,
    all_blobs: AtomicU64,
    all_bytes: AtomicU64,
}

impl Progress {
    /// Says how much there is, and that nothing of it is done yet.
    pub(crate) fn expect(&self, blobs: u64, bytes: u64) {
        self.blobs.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.all_blobs.store(blobs, Ordering::Relaxed);
        self.all_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Counts bytes.
    pub(crate) fn bytes(&self, more: u64) {
        self.bytes.fetch_add(more, Ordering::Relaxed);
    }

    /// Counts bytes that are only done if more goes well.
    pub(crate) fn tentatively(&self) -> Tentatively<'_> {
        Tentatively {
            progress: self,
            bytes: 0,
        }
    }

    /// Counts a blob whose bytes are counted.
    pub(crate) fn blob(&self) {
        self.blobs.fetch_add(1, Ordering::Relaxed);
    }

    /// How many bytes are done.
    pub(crate) fn done_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A line, given how many bytes were done in the time before it; none before anything is known.
    pub(crate) fn line(&self, bytes: u64, in_time: Duration) -> Option<String> {
        let [blobs, all_blobs] = [&self.blobs, &self.all_blobs].map(|count| count.load(Ordering::Relaxed));
        let [done, all_bytes] = [&self.bytes, &self.all_bytes].map(|count| count.load(Ordering::Relaxed));
        if all_blobs == 0 {
            return None;
        }
        let rate = (bytes as f64 / in_time.as_secs_f64().max(0.001)) as u64;
        let left = match all_bytes.saturating_sub(done).checked_div(rate) {
            Some(seconds) => format!("about {} left", time(seconds)),
            None => "waiting".into(),
        };
        Some(format!(
            "{blobs} of {all_blobs} blobs, {} of {}, {}/s, {left}",
            ByteSize(done),
            ByteSize(all_bytes),
            ByteSize(rate),
        ))
    }
}

/// Bytes that are counted, until this is dropped or kept.
pub(crate) struct Tentatively<'a> {
    progress: &'a Progress,
    bytes: u64,
}

impl Tentatively<'_> {
    /// Counts bytes.
    pub(crate) fn bytes(&mut self, more: u64) {
        self.bytes += more;
        self.progress.bytes(more);
    }

    /// They are done.
    pub(crate) fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Tentatively<'_> {
    fn drop(&mut self) {
        self.progress.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn time(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_long_it_takes() {
        let progress = Progress::default();
        assert_eq!(progress.line(0, Duration::from_secs(1)), None);
        progress.expect(10, 4 << 20);
        progress.bytes(1 << 20);
        progress.tentatively().bytes(1 << 20);
        progress.blob();
        let line = progress.line(1 << 20, Duration::from_secs(2)).unwrap();
        assert_eq!(
            line,
            "1 of 10 blobs, 1.0 MiB of 4.0 MiB, 512.0 KiB/s, about 6 s left"
        );
        let line = progress.line(0, Duration::from_secs(2)).unwrap();
        assert!(line.ends_with("waiting"), "{line}");
    }

    #[test]
    fn long_times_are_told_roughly() {
        assert_eq!(time(59), "59 s");
        assert_eq!(time(150), "2 min");
        assert_eq!(time(7300), "2 h 1 min");
    }
}
