//! Scheduled work, which the host calls.

use crate::{events, store};
use sdk::{Call, Data, Result, database::transaction};
use serde_json::{Value, json};

/// Bookings per transaction, so that none holds many locks for long.
const BATCH: i64 = 500;

/// Sets the status of overdue bookings to expired. Nothing depends on it: readers
/// take an overdue booking for an expired one. Bookings that are being confirmed
/// or rejected at this moment are left alone.
pub fn expire(_: &Call) -> Result<Data<Value>> {
    let mut total: i64 = 0;
    loop {
        let expired = transaction(|transaction| {
            let swept = store::sweep_bookings(transaction, BATCH)?;
            for booking in &swept {
                events::booking_expired(transaction, &booking.id, &booking.course_id)?;
            }
            Ok(i64::try_from(swept.len()).unwrap_or(BATCH))
        })?;
        total += expired;
        if expired < BATCH {
            return Ok(Data(json!({ "expired": total })));
        }
    }
}
