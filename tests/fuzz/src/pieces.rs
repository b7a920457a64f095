//! Cutting a byte string into pieces, as a socket or a pipe may.

/// The input's first byte says how the rest is cut: into pieces of that size, or, for 0, into growing ones.
pub(crate) fn cut(input: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let Some((how, bytes)) = input.split_first() else { return (Vec::new(), &[]) };
    if *how > 0 {
        return (bytes.chunks(usize::from(*how)).collect(), bytes);
    }
    let (mut pieces, mut rest, mut size) = (Vec::new(), bytes, 0);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(size));
        pieces.push(piece);
        (rest, size) = (after, size + 1);
    }
    (pieces, bytes)
}

/// Takes numbers and byte strings off an input; zeros once it is used up.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(crate) fn word(&mut self) -> u32 {
        self.take(4).iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
