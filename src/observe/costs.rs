//! What a message costs by the stack and past it, and so what acceleration saves.

use serde::Serialize;

/// CPU time of a message at both ends together, by its size.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Costs {
    /// Bytes of a message, ascending.
    pub sizes: Vec<usize>,
    /// Nanoseconds by the stack, for each size.
    pub plain_ns: Vec<f64>,
    /// Nanoseconds past it, for each size.
    pub accelerated_ns: Vec<f64>,
}

impl Costs {
    /// Nanoseconds that a message of this many bytes saves: between two sizes in proportion, outside of them as at the
    /// nearest. Never negative: a connection whose messages cost more past the stack is a stream, which leaves.
    pub fn saved_ns(&self, bytes: f64) -> f64 {
        let saved: Vec<(f64, f64)> = self
            .sizes
            .iter()
            .zip(self.plain_ns.iter().zip(&self.accelerated_ns))
            .map(|(size, (plain, accelerated))| (*size as f64, plain - accelerated))
            .collect();
        let above = saved.partition_point(|(size, _)| *size < bytes);
        let at = match (above.checked_sub(1).and_then(|at| saved.get(at)), saved.get(above)) {
            (Some((left, low)), Some((right, high))) => low + (high - low) * (bytes - left) / (right - left),
            (Some((_, only)), None) | (None, Some((_, only))) => *only,
            (None, None) => 0.0,
        };
        at.max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_saves_lies_between_what_its_neighbours_save() {
        let costs =
            Costs { sizes: vec![100, 300], plain_ns: vec![1000.0, 1400.0], accelerated_ns: vec![400.0, 1600.0] };
        let saved = [1.0, 100.0, 150.0, 200.0, 300.0, 9000.0].map(|bytes| costs.saved_ns(bytes));
        assert_eq!(saved, [600.0, 600.0, 400.0, 200.0, 0.0, 0.0]);
        assert_eq!(Costs::default().saved_ns(1.0), 0.0);
    }
}
