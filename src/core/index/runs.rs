//! Runs of values, one behind the other in chunks: packed, and growing without being copied.

/// Values in a chunk, unless one run alone is longer.
const CHUNK: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 18;
/// Positions take 31 bits, so that whoever keeps one has a bit to spare.
const CHUNKS_LIMIT: usize = 1 << (31 - CHUNK_BITS);

/// Runs of values. Each lies in one chunk, and says itself where it ends.
#[derive(Debug)]
pub(super) struct Runs<T> {
    chunks: Vec<Vec<T>>,
}

impl<T> Default for Runs<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T: Copy> Runs<T> {
    /// Adds a run and returns its position; `None` once positions have run out.
    pub(super) fn push(&mut self, run: &[T]) -> Option<u32> {
        let fits = |chunk: &Vec<T>| chunk.len() < CHUNK && chunk.len() + run.len() <= CHUNK;
        if !self.chunks.last().is_some_and(fits) {
            self.begin_chunk(run.len())?;
        }
        let number = self.chunks.len() - 1;
        let chunk = &mut self.chunks[number];
        let position = (number << CHUNK_BITS | chunk.len()) as u32;
        chunk.extend_from_slice(run);
        Some(position)
    }

    /// What begins at the position: its run, and what comes after it.
    #[inline]
    pub(super) fn starting_at(&self, position: u32) -> &[T] {
        let position = position as usize;
        &self.chunks[position >> CHUNK_BITS][position & (CHUNK - 1)..]
    }

    /// Gives back what no run has taken.
    pub(super) fn shrink(&mut self) {
        if let Some(last) = self.chunks.last_mut() {
            last.shrink_to_fit();
        }
        self.chunks.shrink_to_fit();
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let chunks = self.chunks.iter().map(|chunk| chunk.capacity() * size_of::<T>());
        chunks.sum::<usize>() + self.chunks.capacity() * size_of::<Vec<T>>()
    }

    fn begin_chunk(&mut self, length: usize) -> Option<()> {
        if self.chunks.len() == CHUNKS_LIMIT {
            return None;
        }
        // The first one grows as it is filled: most indexes are small.
        let whole = !self.chunks.is_empty() || length > CHUNK;
        let capacity = if whole { length.max(CHUNK) } else { 0 };
        self.chunks.push(Vec::with_capacity(capacity));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_is_where_it_was_put_whatever_its_length() {
        let lengths = [0, 1, 7, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 2, CHUNK / 2, CHUNK / 2];
        let mut runs = Runs::default();
        let mut kept = Vec::new();
        for (number, length) in lengths.into_iter().cycle().take(40).enumerate() {
            let run = vec![number as u32; length];
            kept.push((runs.push(&run).unwrap(), run));
        }
        runs.shrink();
        for (position, run) in &kept {
            assert!(runs.starting_at(*position).starts_with(run), "{position}: {}", run.len());
        }
        let values: usize = kept.iter().map(|(_, run)| run.len()).sum();
        assert!(runs.memory_bytes() < values * size_of::<u32>() * 5 / 4);
    }

    #[test]
    fn a_few_values_take_little_room() {
        let mut runs = Runs::default();
        runs.push(&[1_u8, 2, 3]);
        runs.shrink();
        assert!(runs.memory_bytes() < 64);
    }
}
