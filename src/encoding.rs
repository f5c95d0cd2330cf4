//! Numbers, texts and lists as bytes, and back: for snapshots, and for what goes between a gate and a
//! lane of its own. Reading takes nothing on trust: every length is bounded by what is there.

/// What is wrong with bytes that cannot be read.
pub(crate) type Fault = &'static str;

/// Most bytes of a number.
const NUMBER_BYTES: usize = 10;

/// Writes a number in groups of seven bits, the lowest first.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Writes a text after its length.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Writes whether there is a value, and the value.
pub(crate) fn put_option<T>(
    out: &mut Vec<u8>,
    value: Option<T>,
    put: impl FnOnce(&mut Vec<u8>, T),
) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

/// Writes how many there are, then each.
pub(crate) fn put_list<T>(out: &mut Vec<u8>, values: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    put_number(out, values.len() as u64);
    values.iter().for_each(|value| put(out, value));
}

/// Bytes that are taken from the front.
pub(crate) struct Take<'b>(pub(crate) &'b [u8]);

impl<'b> Take<'b> {
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'b [u8], Fault> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("it ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("it ends too early")?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Fault> {
        Ok(self.array::<1>()?[0])
    }

    /// A number as [`put_number`] writes it, and in no longer form.
    pub(crate) fn number(&mut self) -> Result<u64, Fault> {
        let mut number = 0_u64;
        for position in 0..NUMBER_BYTES {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let shift = 7 * position;
            if bits << shift >> shift != bits {
                return Err("a number is too large");
            }
            number |= bits << shift;
            if byte < 0x80 {
                let longer = byte == 0 && position > 0;
                return if longer { Err("a number is longer than it need be") } else { Ok(number) };
            }
        }
        Err("a number is too long")
    }

    /// As many bytes as a number before them says.
    pub(crate) fn sized(&mut self) -> Result<&'b [u8], Fault> {
        let count = self.number()?;
        self.bytes(usize::try_from(count).map_err(|_| "it ends too early")?)
    }

    pub(crate) fn text(&mut self) -> Result<String, Fault> {
        let bytes = self.sized()?;
        Ok(std::str::from_utf8(bytes).map_err(|_| "a text is not UTF-8")?.to_owned())
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Fault> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err("a flag is neither 0 nor 1"),
        }
    }

    pub(crate) fn option<T>(
        &mut self,
        take: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        if self.flag()? { take(self).map(Some) } else { Ok(None) }
    }

    /// A list of things that take at least one byte each.
    pub(crate) fn list<T>(
        &mut self,
        mut take: impl FnMut(&mut Self) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let count = self.number()?;
        if count > self.0.len() as u64 {
            return Err("a list is longer than its bytes");
        }
        (0..count).map(|_| take(self)).collect()
    }

    /// Refuses what is left.
    pub(crate) fn finish(self) -> Result<(), Fault> {
        if self.0.is_empty() { Ok(()) } else { Err("something is left over") }
    }
}
