//! The skew of YCSB: few entries are asked for often, most hardly ever.

/// Exponent of the distribution, as in YCSB.
const THETA: f64 = 0.99;

/// Ranks below `count`; rank r comes as often as 1 / (r + 1)^0.99 says. After Gray et al., "Quickly
/// generating billion-record synthetic databases" (SIGMOD 1994), as YCSB does it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zipf {
    count: f64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    /// Takes time in proportion to `count`.
    pub(crate) fn new(count: u64) -> Self {
        let zeta: f64 = (1..=count).map(|n| (n as f64).powf(-THETA)).sum();
        let of_two = 1.0 + 0.5_f64.powf(THETA);
        let count = count as f64;
        let eta = (1.0 - (2.0 / count).powf(1.0 - THETA)) / (1.0 - of_two / zeta);
        Self { count, zeta, eta }
    }

    /// The rank that an evenly spread random number stands for.
    #[inline]
    pub(crate) fn rank(&self, random: u64) -> u64 {
        let part = (random >> 11) as f64 / (1_u64 << 53) as f64;
        match part * self.zeta {
            z if z < 1.0 => 0,
            z if z < 1.0 + 0.5_f64.powf(THETA) => 1,
            _ => (self.count * (self.eta * part - self.eta + 1.0).powf(1.0 / (1.0 - THETA))) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Zipf;

    #[test]
    fn ranks_come_as_often_as_the_distribution_says() {
        const DRAWS: u64 = 1_000_000;
        let zipf = Zipf::new(1000);
        let mut counts = [0_u64; 1000];
        for n in 0..DRAWS {
            let rank = zipf.rank(n.wrapping_mul(u64::MAX / DRAWS));
            counts[rank as usize] += 1;
        }
        let part = |rank: usize| counts[rank] as f64 / DRAWS as f64 * zipf.zeta;
        assert!((part(0) - 1.0).abs() < 0.01, "{}", part(0));
        assert!((part(1) - 0.5_f64.powf(0.99)).abs() < 0.01, "{}", part(1));
        let tail: u64 = counts[100..].iter().sum();
        let expected: f64 = (101..=1000).map(|n| f64::from(n).powf(-0.99)).sum();
        assert!((tail as f64 / DRAWS as f64 * zipf.zeta / expected - 1.0).abs() < 0.05);
    }
}
