//! What a segment costs by the stack and past it, and so what acceleration saves.

use serde::Serialize;

use super::route::Route;

/// CPU time of a segment with data at both ends together, by the way of its connection and by its size.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Costs {
    /// One for each way that was measured.
    pub routes: Vec<RouteCosts>,
}

/// What was measured on one way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteCosts {
    /// The way: loopback, loopback_tracked, veth or veth_tracked.
    pub route: Route,
    /// Messages of one size each, the size ascending.
    pub messages: Vec<MessageCost>,
}

/// CPU time of a message at both ends together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MessageCost {
    /// Bytes of the message.
    pub bytes: usize,
    /// Segments that carry it by the stack.
    pub segments: f64,
    /// Nanoseconds by the stack.
    pub plain_ns: f64,
    /// Nanoseconds past it.
    pub accelerated_ns: f64,
}

impl Costs {
    /// Nanoseconds that acceleration saves for each segment of this many bytes: between two measured sizes in proportion,
    /// outside of them as at the nearest. Never negative: a connection whose messages cost more past the stack is a stream,
    /// which leaves. A way that was not measured counts as loopback, which saves least.
    pub fn saved_ns(&self, route: Route, bytes: f64) -> f64 {
        let costs_of = |route| self.routes.iter().find(|one| one.route == route);
        let Some(costs) = costs_of(route).or_else(|| costs_of(Route::Loopback)) else { return 0.0 };
        let saved: Vec<(f64, f64)> = costs
            .messages
            .iter()
            .map(|one| (one.bytes as f64 / one.segments, (one.plain_ns - one.accelerated_ns) / one.segments))
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

    fn cost(bytes: usize, segments: f64, plain_ns: f64, accelerated_ns: f64) -> MessageCost {
        MessageCost { bytes, segments, plain_ns, accelerated_ns }
    }

    #[test]
    fn what_a_segment_saves_lies_between_what_its_neighbours_save() {
        let loopback = RouteCosts {
            route: Route::Loopback,
            messages: vec![cost(100, 1.0, 1000.0, 400.0), cost(300, 1.0, 1400.0, 1600.0)],
        };
        let veth = RouteCosts {
            route: Route::Veth,
            messages: vec![cost(1000, 1.0, 3000.0, 1000.0), cost(11_200, 8.0, 6400.0, 5600.0)],
        };
        let costs = Costs { routes: vec![loopback, veth] };
        let saved = [1.0, 100.0, 150.0, 200.0, 300.0, 9000.0].map(|bytes| costs.saved_ns(Route::Loopback, bytes));
        assert_eq!(saved, [600.0, 600.0, 400.0, 200.0, 0.0, 0.0]);
        let saved = [1.0, 1000.0, 1200.0, 1400.0].map(|bytes| costs.saved_ns(Route::Veth, bytes));
        assert_eq!(saved, [2000.0, 2000.0, 1050.0, 100.0]);
        assert_eq!(costs.saved_ns(Route::VethTracked, 100.0), 600.0, "not measured");
        assert_eq!(Costs::default().saved_ns(Route::Loopback, 1.0), 0.0);
    }
}
