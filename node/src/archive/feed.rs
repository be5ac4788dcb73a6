//! Hands bytes from a task to a thread that reads them, with few of them waiting in between.

use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use crate::archive::Compressed;

/// How many pieces may wait for the reader.
const PIECES_UNDER_WAY: usize = 4;

/// The end that is written to. Dropping it ends what the reader sees.
pub(crate) struct Feeder {
    pieces: mpsc::Sender<Bytes>,
}

/// The end that a blocking thread reads from.
pub(crate) struct Fed {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
    read_bytes: u64,
}

/// Two ends of a pipe.
pub(crate) fn feed() -> (Feeder, Fed) {
    let (sender, receiver) = mpsc::channel(PIECES_UNDER_WAY);
    let fed = Fed {
        pieces: receiver,
        piece: Bytes::new(),
        read_bytes: 0,
    };
    (Feeder { pieces: sender }, fed)
}

impl Feeder {
    /// Hands over the next piece; false if nobody reads any more.
    pub(crate) async fn push(&self, piece: Bytes) -> bool {
        // An empty piece would read as the end.
        piece.is_empty() || self.pieces.send(piece).await.is_ok()
    }
}

impl BufRead for Fed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.piece.is_empty()
            && let Some(piece) = self.pieces.blocking_recv()
        {
            self.read_bytes += piece.len() as u64;
            self.piece = piece;
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, count: usize) {
        self.piece.advance(count);
    }
}

impl Read for Fed {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(out)?;
        self.consume(count);
        Ok(count)
    }
}

impl Compressed for &mut Fed {
    fn read_bytes(&self) -> u64 {
        self.read_bytes
    }
}

impl Compressed for Fed {
    fn read_bytes(&self) -> u64 {
        self.read_bytes
    }
}
