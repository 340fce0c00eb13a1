//! Dates, times and what lies between them: the bytes of their extension types, both ways.

use super::Unfit;
use super::reader::malformed;
use crate::class::ZONE;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyDate, PyDateAccess, PyDateTime, PyDelta, PyDeltaAccess, PyString, PyTime, PyTimeAccess,
    PyTuple, PyTzInfo, PyTzInfoAccess,
};
use quickcache::codec::extension::{DATE, DATETIME, TIME, TIMEDELTA, zone};

/// The extension type and its body; `None` for an object of any other type.
pub fn body<'py>(value: &Bound<'py, PyAny>) -> Result<Option<(i8, Vec<u8>)>, Unfit<'py>> {
    let mut body = Vec::with_capacity(24);
    let kind = if let Ok(moment) = value.cast_exact::<PyDateTime>() {
        put_date(&mut body, moment);
        put_time(&mut body, moment);
        put_zone(&mut body, moment.get_tzinfo())?;
        DATETIME
    } else if let Ok(date) = value.cast_exact::<PyDate>() {
        put_date(&mut body, date);
        DATE
    } else if let Ok(time) = value.cast_exact::<PyTime>() {
        put_time(&mut body, time);
        put_zone(&mut body, time.get_tzinfo())?;
        TIME
    } else if let Ok(delta) = value.cast_exact::<PyDelta>() {
        body.extend_from_slice(&delta.get_days().to_be_bytes());
        body.extend_from_slice(&delta.get_seconds().to_be_bytes());
        body.extend_from_slice(&delta.get_microseconds().to_be_bytes());
        TIMEDELTA
    } else {
        return Ok(None);
    };
    Ok(Some((kind, body)))
}

fn put_date(body: &mut Vec<u8>, date: &impl PyDateAccess) {
    body.extend_from_slice(&(date.get_year() as u16).to_be_bytes());
    body.extend_from_slice(&[date.get_month(), date.get_day()]);
}

fn put_time(body: &mut Vec<u8>, time: &impl PyTimeAccess) {
    let fold = u8::from(time.get_fold());
    body.extend_from_slice(&[time.get_hour(), time.get_minute(), time.get_second(), fold]);
    body.extend_from_slice(&time.get_microsecond().to_be_bytes());
}

/// Nothing for no zone. One of a class that is not the standard library's would come back as another.
fn put_zone<'py>(
    body: &mut Vec<u8>,
    tzinfo: Option<Bound<'py, PyTzInfo>>,
) -> Result<(), Unfit<'py>> {
    let Some(tzinfo) = tzinfo else {
        return Ok(());
    };
    let py = tzinfo.py();
    let utc = PyTzInfo::utc(py)?;
    if tzinfo.is(utc) {
        body.push(zone::UTC);
        return Ok(());
    }
    if tzinfo.get_type().is(utc.get_type()) {
        // How `timezone` is copied: the offset, and the name if it was given one.
        let made_of = tzinfo.call_method0(intern!(py, "__getinitargs__"))?;
        let made_of = made_of.cast_into::<PyTuple>().map_err(PyErr::from)?;
        let named = made_of.len() > 1;
        let offset = made_of
            .get_item(0)?
            .cast_into::<PyDelta>()
            .map_err(PyErr::from)?;
        let seconds = i64::from(offset.get_days()) * 86_400 + i64::from(offset.get_seconds());
        let micros = seconds * 1_000_000 + i64::from(offset.get_microseconds());
        body.push(if named {
            zone::NAMED_OFFSET
        } else {
            zone::OFFSET
        });
        body.extend_from_slice(&micros.to_be_bytes());
        return if named {
            put_text(body, &made_of.get_item(1)?)
        } else {
            Ok(())
        };
    }
    if ZONE.is_type_of(&tzinfo)? {
        let key = tzinfo.getattr(intern!(py, "key"))?;
        if key.is_none() {
            return Err(Unfit::Reason("it holds a ZoneInfo without a key"));
        }
        body.push(zone::KEY);
        return put_text(body, &key);
    }
    Err(Unfit::Type(tzinfo.get_type().into_any()))
}

fn put_text<'py>(body: &mut Vec<u8>, text: &Bound<'py, PyAny>) -> Result<(), Unfit<'py>> {
    let text = text.cast_exact::<PyString>().map_err(PyErr::from)?;
    body.extend_from_slice(text.to_str()?.as_bytes());
    Ok(())
}

/// The object of a body of one of these types.
pub fn read<'py>(py: Python<'py>, kind: i8, body: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let mut body = Body(body);
    let moment = match kind {
        DATETIME => {
            let (year, month, day) = body.date()?;
            let time = body.time()?;
            let tzinfo = body.zone(py)?;
            PyDateTime::new_with_fold(
                py,
                year,
                month,
                day,
                time.hour,
                time.minute,
                time.second,
                time.micros,
                tzinfo.as_ref(),
                time.fold,
            )?
            .into_any()
        }
        DATE => {
            let (year, month, day) = body.date()?;
            PyDate::new(py, year, month, day)?.into_any()
        }
        TIME => {
            let time = body.time()?;
            let tzinfo = body.zone(py)?;
            PyTime::new_with_fold(
                py,
                time.hour,
                time.minute,
                time.second,
                time.micros,
                tzinfo.as_ref(),
                time.fold,
            )?
            .into_any()
        }
        _ => {
            let [days, seconds, micros] = [body.int()?, body.int()?, body.int()?];
            // What an object says of itself is normal; anything else would come back as something else.
            if !(0..86_400).contains(&seconds) || !(0..1_000_000).contains(&micros) {
                return Err(malformed());
            }
            PyDelta::new(py, days, seconds, micros, false)?.into_any()
        }
    };
    if body.0.is_empty() {
        Ok(moment)
    } else {
        Err(malformed())
    }
}

struct Time {
    hour: u8,
    minute: u8,
    second: u8,
    fold: bool,
    micros: u32,
}

/// What is left of one.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take<const N: usize>(&mut self) -> PyResult<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn int(&mut self) -> PyResult<i32> {
        Ok(i32::from_be_bytes(self.take()?))
    }

    fn date(&mut self) -> PyResult<(i32, u8, u8)> {
        let [high, low, month, day] = self.take()?;
        Ok((i32::from(u16::from_be_bytes([high, low])), month, day))
    }

    fn time(&mut self) -> PyResult<Time> {
        let [hour, minute, second, fold] = self.take()?;
        let micros = u32::from_be_bytes(self.take()?);
        if fold > 1 {
            return Err(malformed());
        }
        Ok(Time {
            hour,
            minute,
            second,
            fold: fold == 1,
            micros,
        })
    }

    fn text(&mut self) -> PyResult<&'a str> {
        let text = std::str::from_utf8(std::mem::take(&mut self.0));
        text.map_err(|_| malformed())
    }

    fn zone<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTzInfo>>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let [kind] = self.take()?;
        let tzinfo = match kind {
            zone::UTC => PyTzInfo::utc(py)?.to_owned(),
            zone::OFFSET | zone::NAMED_OFFSET => {
                let micros = i64::from_be_bytes(self.take()?);
                const DAY: i64 = 86_400_000_000;
                let (days, micros) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
                let days = i32::try_from(days).map_err(|_| malformed())?;
                let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
                let offset = PyDelta::new(py, days, seconds as i32, micros as i32, false)?;
                let class = PyTzInfo::utc(py)?.get_type();
                let made = if kind == zone::OFFSET {
                    class.call1((offset,))?
                } else {
                    class.call1((offset, self.text()?))?
                };
                made.cast_into::<PyTzInfo>()?
            }
            zone::KEY => {
                let zone = ZONE.imported(py)?.call1((self.text()?,))?;
                zone.cast_into::<PyTzInfo>()?
            }
            _ => return Err(malformed()),
        };
        Ok(Some(tzinfo))
    }
}
