//! One byte for each choice.

/// An enum that an input chooses from with one byte, the variant's number.
///
/// `derive(Arbitrary)` takes four bytes, of which three hardly matter, and gives every variant another number when one is added.
/// Here a corpus keeps its meaning as long as new variants are added at the end.
macro_rules! choices {
    ($(#[$meta:meta])* $vis:vis enum $name:ident {
        $($(#[$about:meta])* $variant:ident $(($($field:ty),+))?,)+
    }) => {
        $(#[$meta])*
        $vis enum $name {
            $($(#[$about])* $variant $(($($field),+))?,)+
        }

        impl<'a> arbitrary::Arbitrary<'a> for $name {
            fn arbitrary(input: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
                let variants: &[fn(&mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self>] =
                    &[$(|_input| Ok(Self::$variant $(($(<$field as arbitrary::Arbitrary>::arbitrary(_input)?),+))?)),+];
                variants[usize::from(<u8 as arbitrary::Arbitrary>::arbitrary(input)?) % variants.len()](input)
            }
        }
    };
}
