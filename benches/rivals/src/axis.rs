//! The horizontal axis of a chart.

/// From the least to the greatest value; from 0 if it is linear. It is logarithmic if the values are more than 30 times apart.
pub struct Axis {
    low: f64,
    high: f64,
    pub is_log: bool,
}

impl Axis {
    pub fn over(values: impl Iterator<Item = f64> + Clone) -> Self {
        let high = values.clone().fold(1e-9, f64::max);
        let low = values.filter(|value| *value > 0.0).fold(high, f64::min);
        let is_log = high / low > 30.0;
        Axis { low: if is_log { low / 2.0 } else { 0.0 }, high, is_log }
    }

    /// How far along the axis a value is, from 0 to 1.
    pub fn part(&self, value: f64) -> f64 {
        match self.is_log {
            true => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
            false => value / self.high,
        }
    }

    /// Round values on the axis.
    pub fn ticks(&self) -> Vec<f64> {
        if self.is_log {
            let decades = self.low.log10().floor() as i32..=self.high.log10().floor() as i32;
            let steps: &[f64] = if self.high / self.low < 1e4 { &[1.0, 2.0, 5.0] } else { &[1.0] };
            let all = decades.flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
            return all.filter(|tick| (self.low..=self.high).contains(tick)).collect();
        }
        // At least four steps, and nine at most.
        let decade = 10_f64.powf((self.high / 4.0).log10().floor());
        let steps = [5.0, 2.0, 1.0].map(|step| step * decade);
        let step = steps.into_iter().find(|step| self.high / step >= 4.0).unwrap_or(decade);
        (0..=(self.high / step) as u32).map(|n| f64::from(n) * step).collect()
    }
}
