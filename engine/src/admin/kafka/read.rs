//! Reading requests: what several APIs need beyond Kafka's primitives.

use kafka::Error;
use kafka::primitive::ReadKafka;
use wire::Reader;

/// Calls `item` for each element of an array; a null array has none.
pub(super) fn each<'a>(
    r: &mut Reader<'a>,
    flexible: bool,
    mut item: impl FnMut(&mut Reader<'a>) -> Result<(), Error>,
) -> Result<(), Error> {
    for _ in 0..r.count(flexible, 1)? {
        item(r)?;
    }
    Ok(())
}

/// The elements of an array, or `None` for null.
pub(super) fn nullable_list<'a, T>(
    r: &mut Reader<'a>,
    flexible: bool,
    item: impl FnMut(&mut Reader<'a>) -> Result<T, Error>,
) -> Result<Option<Vec<T>>, Error> {
    let mut ahead = *r;
    let is_null = if flexible { ahead.uvarint()? == 0 } else { ahead.i32()? == -1 };
    let items = list(r, flexible, item)?;
    Ok((!is_null).then_some(items))
}

/// The elements of an array. It grows as they are read: a count allocates nothing.
pub(super) fn list<'a, T>(
    r: &mut Reader<'a>,
    flexible: bool,
    mut item: impl FnMut(&mut Reader<'a>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut items = Vec::new();
    each(r, flexible, |r| {
        items.push(item(r)?);
        Ok(())
    })?;
    Ok(items)
}

/// A byte string; null is empty.
pub(super) fn bytes<'a>(r: &mut Reader<'a>, flexible: bool) -> Result<&'a [u8], Error> {
    let len = r.count(flexible, 1)?;
    Ok(r.take(len)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_not_empty() {
        let ints = |bytes: &[u8], flexible| nullable_list(&mut Reader::new(bytes), flexible, |r| Ok(r.u8()?));
        assert_eq!(ints(&[0xff, 0xff, 0xff, 0xff], false), Ok(None));
        assert_eq!(ints(&[0, 0, 0, 0], false), Ok(Some(vec![])));
        assert_eq!(ints(&[0, 0, 0, 2, 7, 8], false), Ok(Some(vec![7, 8])));
        assert_eq!((ints(&[0], true), ints(&[1], true)), (Ok(None), Ok(Some(vec![]))));
        assert_eq!(ints(&[3, 7, 8], true), Ok(Some(vec![7, 8])));
    }

    #[test]
    fn a_length_beyond_the_request_is_refused() {
        assert!(bytes(&mut Reader::new(&[0x7f, 0xff, 0xff, 0xff, 1]), false).is_err());
        assert_eq!(bytes(&mut Reader::new(&[3, 7, 8]), true), Ok(&[7u8, 8][..]));
        assert_eq!(bytes(&mut Reader::new(&[0]), true), Ok(&[][..]));
    }
}
