//! Fork and join where the leaves do real work: a quicksort, and a product of matrices. What the pool adds should not show. A smaller scale
//! repeats it less often.

use super::fork_join::{build, row};
use super::{Ask, Row};
use crate::measure::repeated;
use crate::pools::Forks;

const NUMBERS: usize = 1 << 20;
/// The standard library sorts no more than this.
const LEAF: usize = 4096;

/// Numbers that look random, always the same (SplitMix64).
fn numbers(count: usize) -> Vec<u64> {
    let mut state = 0_u64;
    let next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Divides the slice so that nothing on the left is greater than anything on the right (Hoare). Neither part is empty.
fn partition(slice: &mut [u64]) -> (&mut [u64], &mut [u64]) {
    let (first, middle, last) = (slice[0], slice[slice.len() / 2], slice[slice.len() - 1]);
    let median = first.min(middle).max(first.max(middle).min(last));
    let (mut low, mut high) = (0, slice.len() - 1);
    loop {
        while slice[low] < median {
            low += 1;
        }
        while slice[high] > median {
            high -= 1;
        }
        if low >= high {
            return slice.split_at_mut(high + 1);
        }
        slice.swap(low, high);
        (low, high) = (low + 1, high - 1);
    }
}

fn sort<F: Forks>(pool: &F, slice: &mut [u64]) {
    if slice.len() <= LEAF {
        return slice.sort_unstable();
    }
    let (left, right) = partition(slice);
    pool.join(|| sort(pool, left), || sort(pool, right));
}

pub fn quicksort<F: Forks>(ask: Ask) -> Row {
    let pool: F = build();
    let unsorted = numbers(NUMBERS);
    let mut expected = unsorted.clone();
    expected.sort_unstable();
    let run = |mut numbers: Vec<u64>| {
        pool.install(|| sort(&pool, &mut numbers));
        numbers
    };
    let check = |sorted: Vec<u64>| assert!(sorted == expected, "it is sorted");
    let (measured, times) = repeated(ask.count(40, 2), || unsorted.clone(), run, check);
    pool.end();
    row(measured, &times)
}

/// Rows and columns of a matrix.
const SIDE: usize = 512;
/// Rows and columns of a block, in which numbers are stored row by row. A larger matrix is stored as its four quadrants, one after the
/// other, so that each is one slice.
const BLOCK: usize = 64;

/// Where a number is stored.
fn at(mut row: usize, mut column: usize) -> usize {
    let (mut side, mut start) = (SIDE, 0);
    while side > BLOCK {
        side /= 2;
        start += (2 * (row / side) + column / side) * side * side;
        (row, column) = (row % side, column % side);
    }
    start + row * BLOCK + column
}

fn quadrants(matrix: &[f32]) -> [&[f32]; 4] {
    let quarter = matrix.len() / 4;
    [0, 1, 2, 3].map(|n| &matrix[n * quarter..][..quarter])
}

/// Adds the product of `a` and `b` to `c`.
fn multiply<F: Forks>(pool: &F, c: &mut [f32], a: &[f32], b: &[f32]) {
    if c.len() == BLOCK * BLOCK {
        return multiply_block(c, a, b);
    }
    let [a11, a12, a21, a22] = quadrants(a);
    let [b11, b12, b21, b22] = quadrants(b);
    let (top, bottom) = c.split_at_mut(c.len() / 2);
    let ((c11, c12), (c21, c22)) = (top.split_at_mut(top.len() / 2), bottom.split_at_mut(bottom.len() / 2));
    let two = |c: &mut [f32], a: [&[f32]; 2], b: [&[f32]; 2]| (0..2).for_each(|n| multiply(pool, c, a[n], b[n]));
    pool.join(
        || pool.join(|| two(c11, [a11, a12], [b11, b21]), || two(c12, [a11, a12], [b12, b22])),
        || pool.join(|| two(c21, [a21, a22], [b11, b21]), || two(c22, [a21, a22], [b12, b22])),
    );
}

fn multiply_block(c: &mut [f32], a: &[f32], b: &[f32]) {
    for (c, a) in c.chunks_exact_mut(BLOCK).zip(a.chunks_exact(BLOCK)) {
        for (factor, b) in a.iter().zip(b.chunks_exact(BLOCK)) {
            c.iter_mut().zip(b).for_each(|(c, b)| *c += factor * b);
        }
    }
}

/// A matrix times a vector.
fn apply(matrix: &[f32], vector: &[f64]) -> Vec<f64> {
    let row = |row| vector.iter().enumerate().map(|(column, x)| f64::from(matrix[at(row, column)]) * x).sum();
    (0..SIDE).map(row).collect()
}

pub fn matmul<F: Forks>(ask: Ask) -> Row {
    let pool: F = build();
    // Small integers, so that all sums are exact.
    let all: Vec<f32> = numbers(2 * SIDE * SIDE).into_iter().map(|n| (n % 8) as f32).collect();
    let (a, b) = all.split_at(SIDE * SIDE);
    // The product is right if it does to a vector what its factors do one after the other (Freivalds).
    let vector: Vec<f64> = (0..SIDE).map(|n| n as f64).collect();
    let expected = apply(a, &apply(b, &vector));
    let run = |mut c: Vec<f32>| {
        pool.install(|| multiply(&pool, &mut c, a, b));
        c
    };
    let check = |c: Vec<f32>| assert_eq!(apply(&c, &vector), expected);
    let (measured, times) = repeated(ask.count(100, 2), || vec![0.0; SIDE * SIDE], run, check);
    pool.end();
    row(measured, &times)
}
