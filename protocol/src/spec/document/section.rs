//! A table of the file: its keys, read as what they should be.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{
    Bound, Document, Field, Place, Quantity, Raw, Text, nearest, quote, quote_key, type_name,
};

/// A table of the file.
pub(in crate::spec) struct Section<'a> {
    pub(in crate::spec) document: &'a Document<'a>,
    pub(in crate::spec) place: Place,
    table: &'a DeTable<'a>,
    fields: &'static [Field],
}

impl<'a> Section<'a> {
    /// The top table.
    pub(in crate::spec) fn root(
        document: &'a Document<'a>,
        root: &'a Spanned<DeTable<'a>>,
        fields: &'static [Field],
    ) -> Self {
        let place = Place {
            line: 1,
            key: String::new(),
        };
        Self::open(document, place, root.get_ref(), fields)
    }

    /// A table that stands at a place; unknown keys are reported.
    fn open(
        document: &'a Document<'a>,
        place: Place,
        table: &'a DeTable<'a>,
        fields: &'static [Field],
    ) -> Self {
        let section = Self {
            document,
            place,
            table,
            fields,
        };
        section.refuse_unknown_keys();
        section
    }

    fn refuse_unknown_keys(&self) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if self.fields.iter().any(|field| field.name == name) {
                continue;
            }
            let valid: Vec<_> = self.fields.iter().map(|field| field.name).collect();
            let hint = match nearest(name, &valid) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("valid keys are {}", valid.join(", ")),
            };
            self.document
                .report(&self.place_of(name), format!("unknown key; {hint}"));
        }
    }

    /// Where a key stands, or the table if the key isn't there.
    pub(in crate::spec) fn place_of(&self, name: &str) -> Place {
        let line = self
            .table
            .get_key_value(name)
            .map_or(self.place.line, |(key, _)| self.document.line(&key.span()));
        let key = match self.place.key.as_str() {
            "" => quote_key(name),
            table => format!("{table}.{}", quote_key(name)),
        };
        Place { line, key }
    }

    pub(in crate::spec) fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// Reports a required key that isn't there.
    pub(in crate::spec) fn require(&self, name: &str) {
        if !self.has(name) {
            let message = format!("missing; {}", self.next(name));
            self.document.report(&self.place_of(name), message);
        }
    }

    pub(in crate::spec) fn next(&self, name: &str) -> &'static str {
        self.fields
            .iter()
            .find(|field| field.name == name)
            .map_or("remove it", |field| field.next)
    }

    fn value(&self, name: &str) -> Option<&'a DeValue<'a>> {
        self.table.get(name).map(Spanned::get_ref)
    }

    fn wrong_type(&self, place: &Place, name: &str, expected: &str, found: &DeValue<'_>) {
        let (found, next) = (type_name(found), self.next(name));
        self.document
            .report(place, format!("expected {expected}, found {found}; {next}"));
    }

    /// A string as it stands in the file.
    pub(in crate::spec) fn raw(&self, name: &str) -> Option<Raw<'a>> {
        let value = self.value(name)?;
        let place = self.place_of(name);
        match value {
            DeValue::String(text) => Some(Raw { place, text }),
            other => {
                self.wrong_type(&place, name, "a string", other);
                None
            }
        }
    }

    /// A string with its variables replaced.
    pub(in crate::spec) fn text(&self, name: &str) -> Option<Text<'a>> {
        self.document.resolve(self.raw(name)?)
    }

    /// A string, turned into something by `parse`; what `parse` says against it is reported.
    pub(in crate::spec) fn parsed<T, E: std::fmt::Display>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(name)?;
        self.convert(name, &text, parse)
    }

    fn convert<T, E: std::fmt::Display>(
        &self,
        name: &str,
        text: &Text<'_>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(&text.value) {
            Ok(value) => Some(value),
            Err(_) if self.document.unknown(text.raw) => None,
            Err(error) => {
                self.document
                    .report(&text.place, text.explain(&error, self.next(name)));
                None
            }
        }
    }

    /// Reports a variable where a Server, which doesn't have its value, must know the string.
    pub(in crate::spec) fn literal(&self, name: &str) {
        if let Some(DeValue::String(text)) = self.value(name)
            && self.document.unknown(text)
        {
            let message = format!(
                "{} can't be known to the Servers, which don't have the variable; write it out",
                quote(text)
            );
            self.document.report(&self.place_of(name), message);
        }
    }

    /// True or false.
    pub(in crate::spec) fn boolean(&self, name: &str) -> Option<bool> {
        let value = self.value(name)?;
        if let DeValue::Boolean(boolean) = value {
            return Some(*boolean);
        }
        self.wrong_type(&self.place_of(name), name, "true or false", value);
        None
    }

    /// A table of strings, whose keys are free.
    pub(in crate::spec) fn strings(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let value = self.value(name)?;
        let place = self.place_of(name);
        let DeValue::Table(table) = value else {
            self.wrong_type(&place, name, "a table of strings", value);
            return None;
        };
        let mut out = BTreeMap::new();
        for (key, value) in table {
            let place = Place {
                line: self.document.line(&key.span()),
                key: format!("{}.{}", place.key, quote_key(key.get_ref())),
            };
            let DeValue::String(text) = value.get_ref() else {
                self.wrong_type(&place, name, "a string", value.get_ref());
                continue;
            };
            if self.document.unknown(text) {
                let message = "can't be known to the Servers, which don't have the variable; \
                               write it out";
                self.document.report(&place, message);
            }
            if let Some(text) = self.document.resolve(Raw { place, text }) {
                out.insert(key.get_ref().to_string(), text.value);
            }
        }
        Some(out)
    }

    /// One of a few words.
    pub(in crate::spec) fn choice<T: Copy>(
        &self,
        name: &str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.text(name)?;
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text.value) {
            return Some(*choice);
        }
        if self.document.unknown(text.raw) {
            return None;
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        // Words are compared with what stands in the file: a variable may hold a secret.
        let hint = match nearest(text.raw, &words) {
            Some(near) => format!("; did you mean \"{near}\"?"),
            None => String::new(),
        };
        let message = format!(
            "{} is not one of {}{hint}",
            quote(text.raw),
            words.join(", ")
        );
        self.document.report(&text.place, message);
        None
    }

    /// An array of strings, each turned into something.
    pub(in crate::spec) fn parsed_array<T, E: std::fmt::Display>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let value = self.value(name)?;
        let DeValue::Array(array) = value else {
            self.wrong_type(&self.place_of(name), name, "an array of strings", value);
            return None;
        };
        let mut out = Vec::with_capacity(array.len());
        for (at, element) in array.iter().enumerate() {
            let place = Place {
                line: self.document.line(&element.span()),
                key: format!("{}[{}]", self.place_of(name).key, at + 1),
            };
            let DeValue::String(text) = element.get_ref() else {
                self.wrong_type(&place, name, "a string", element.get_ref());
                continue;
            };
            let text = self.document.resolve(Raw { place, text });
            out.extend(text.and_then(|text| self.convert(name, &text, &parse)));
        }
        (out.len() == array.len()).then_some(out)
    }

    /// A whole number within bounds.
    pub(in crate::spec) fn integer(&self, name: &str, bound: &Bound) -> Option<u64> {
        let value = self.value(name)?;
        let place = self.place_of(name);
        let DeValue::Integer(integer) = value else {
            self.wrong_type(&place, name, "an integer", value);
            return None;
        };
        // `None` for a negative number and one beyond 64 bits alike: both are out of bounds.
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        self.bounded(&place, number, &integer.to_string(), bound)
    }

    /// A string or a number that means a quantity within bounds.
    pub(in crate::spec) fn quantity(&self, name: &str, quantity: &Quantity) -> Option<u64> {
        if quantity.plain_numbers
            && let Some(DeValue::Integer(_)) = self.value(name)
        {
            return self.integer(name, &quantity.bound);
        }
        let text = self.text(name)?;
        if self.document.unknown(text.raw) {
            return None;
        }
        let shown = quote(text.raw);
        let Some(number) = (quantity.parse)(&text.value) else {
            let message = format!("{shown} is no {}; {}", quantity.name, self.next(name));
            self.document.report(&text.place, message);
            return None;
        };
        self.bounded(&text.place, Some(number), &shown, &quantity.bound)
    }

    fn bounded(
        &self,
        place: &Place,
        number: Option<u64>,
        shown: &str,
        bound: &Bound,
    ) -> Option<u64> {
        let number = number.filter(|number| bound.range.contains(number));
        if number.is_none() {
            let show = bound.show;
            let (min, max) = (show(*bound.range.start()), show(*bound.range.end()));
            let why = bound.why;
            let message = format!("{shown} is out of bounds; give {min} to {max} ({why})");
            self.document.report(place, message);
        }
        number
    }

    /// A table in this one.
    pub(in crate::spec) fn table(
        &self,
        name: &str,
        fields: &'static [Field],
    ) -> Option<Section<'a>> {
        let value = self.value(name)?;
        let place = self.place_of(name);
        match value {
            DeValue::Table(table) => Some(Self::open(self.document, place, table, fields)),
            other => {
                self.wrong_type(&place, name, "a table", other);
                None
            }
        }
    }

    /// The tables of an array of tables; `None` if the key isn't there or isn't one.
    pub(in crate::spec) fn tables(
        &self,
        name: &str,
        fields: &'static [Field],
    ) -> Option<Vec<Section<'a>>> {
        let value = self.value(name)?;
        let DeValue::Array(array) = value else {
            self.wrong_type(&self.place_of(name), name, "an array of tables", value);
            return None;
        };
        let mut out = Vec::with_capacity(array.len());
        for (at, element) in array.iter().enumerate() {
            let place = Place {
                line: self.document.line(&element.span()),
                key: format!("{}[{}]", self.place_of(name).key, at + 1),
            };
            match element.get_ref() {
                DeValue::Table(table) => out.push(Self::open(self.document, place, table, fields)),
                other => self.wrong_type(&place, name, "a table", other),
            }
        }
        Some(out)
    }
}
