# SPDX-License-Identifier: MIT
# Hashes of arrays, split, join, regular expressions and sorting; prints a checksum.
use strict;
use warnings;

my ($count, $rounds) = (12_000, ($ENV{METE_BENCH_QUICK} // "") eq "1" ? 1 : 6);
my $state = 1;
sub random { $state = ($state * 1103515245 + 12345) % 2147483648; return int($state / 65536) % $_[0] }

my $sum = 0;
for my $round (1 .. $rounds) {
    my %index;
    for my $i (1 .. $count) {
        my $line = join ' ', map { 'w' . random(5000) . ('x' x random(8)) } 1 .. 8;
        push @{ $index{$_} }, $i for split / /, $line;
    }
    for my $word (sort keys %index) {
        next unless $word =~ /^w(\d+)(x*)$/;
        $sum = ($sum * 31 + $1 + length($2) + @{ $index{$word} }) % 1000000007;
    }
    my $text = join "\n", map { "$_=" . join ',', @{ $index{$_} } } sort keys %index;
    $text =~ s/(\d+),(\d+)/$2,$1/g;
    $sum = ($sum + length $text) % 1000000007;
}
print "$sum\n";
