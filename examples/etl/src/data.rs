//! The orders: made from nothing but their number, so that anybody can tell what must come out.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use csv::StringRecord;

const CURRENCIES: [(&str, i64); 3] = [("EUR", 1000), ("USD", 920), ("GBP", 1170)];
const COUNTRIES: [&str; 5] = ["DE", "FR", "IE", "PL", "SE"];

/// A row of the CSV.
pub struct Order {
    /// From 0, without a gap.
    pub id: i64,
    /// Who ordered.
    pub customer: i64,
    /// What it costs, in hundredths of its currency.
    pub amount: i64,
    /// A code of three letters.
    pub currency: String,
}

/// A row of the database.
pub struct Enriched {
    /// As in the order.
    pub id: i64,
    /// As in the order.
    pub customer: i64,
    /// Where the customer lives.
    pub country: &'static str,
    /// What it costs in euro cents.
    pub cents: i64,
}

/// Numbers that look random (splitmix64).
fn scrambled(n: i64) -> u64 {
    let mut x = (n as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn order(id: i64) -> Order {
    let random = scrambled(id);
    let customer = (random % 5000) as i64;
    let amount = 1 + (random >> 16) as i64 % 100_000;
    Order { id, customer, amount, currency: CURRENCIES[(random >> 61) as usize % 3].0.to_owned() }
}

impl Order {
    /// # Errors
    ///
    /// If it is not a row of the CSV.
    pub fn parse(record: &StringRecord) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let number = |column: usize| record.get(column).unwrap_or_default().trim().parse::<i64>();
        let currency = record.get(3).ok_or("a row without a currency")?.to_owned();
        Ok(Order { id: number(0)?, customer: number(1)?, amount: number(2)?, currency })
    }

    /// Adds what the CSV does not have.
    ///
    /// # Errors
    ///
    /// If the currency is unknown.
    pub fn enrich(self) -> Result<Enriched, String> {
        let rate = CURRENCIES.iter().find(|(code, _)| *code == self.currency).map(|(_, rate)| rate);
        let cents = self.amount * rate.ok_or_else(|| format!("unknown currency {}", self.currency))? / 1000;
        let country = COUNTRIES[self.customer.unsigned_abs() as usize % COUNTRIES.len()];
        Ok(Enriched { id: self.id, customer: self.customer, country, cents })
    }
}

/// Writes a CSV of so many orders, unless there is one. A file of this name is always whole.
///
/// # Errors
///
/// The system's.
pub fn generate(path: &Path, rows: i64) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let unfinished = path.with_extension("part");
    let mut file = BufWriter::new(File::create(&unfinished)?);
    writeln!(file, "id,customer,amount,currency")?;
    for Order { id, customer, amount, currency } in (0..rows).map(order) {
        writeln!(file, "{id},{customer},{amount},{currency}")?;
    }
    file.into_inner()?.sync_all()?;
    fs::rename(unfinished, path)
}

/// The sum of all orders in euro cents.
///
/// # Errors
///
/// None: every currency is known.
pub fn expected_cents(rows: i64) -> Result<i64, String> {
    (0..rows).map(|id| order(id).enrich().map(|row| row.cents)).sum()
}
