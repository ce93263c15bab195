# SPDX-License-Identifier: MIT
# Hashes, strings, regular expressions, closures, interpreter threads and forked children: each
# part prints a digest of what it built. The argument multiplies the work.
use strict;
use warnings;
use threads;
use Digest::SHA qw(sha256_hex);

my $scale = shift @ARGV;
my $state = 12345;

sub next_number {
    $state = ($state * 1103515245 + 12345) & 0x7fffffff;
    return $state >> 8;
}

sub hashes {
    my %table;
    for (1 .. 60_000 * $scale) {
        my $key = "key" . (next_number() % 20_000);
        push @{ $table{$key}{list} }, next_number() % 1000;
        $table{$key}{text} .= chr(97 + next_number() % 26) x (next_number() % 40);
        delete $table{ "key" . (next_number() % 20_000) } if $_ % 3 == 0;
    }
    return join "\n", map { "$_ $table{$_}{text} @{ $table{$_}{list} }" }
        grep { $table{$_}{list} } sort keys %table;
}

sub strings {
    my $text = join " ", map { sprintf "%x-%s", next_number(), "ab" x (next_number() % 9) }
        1 .. 40_000 * $scale;
    my %count;
    $count{ length $1 }++ while $text =~ /\b(\w+)-((?:ab)*)\b/g;
    (my $changed = $text) =~ s/([0-9a-f]+)-/<$1>/g;
    my @fields = sort { $a cmp $b } split / /, $changed;
    return join("\n", @fields, map { "$_=$count{$_}" } sort { $a <=> $b } keys %count);
}

# A thread clones the whole interpreter, so its blocks are many and it frees them all at its end.
sub in_threads {
    my @workers = map { my $seed = $_; threads->create(sub {
        $state = $seed;
        my @rows = map { { id => $_, name => "row" x (next_number() % 50) } } 1 .. 8_000 * $scale;
        return sha256_hex(join ",", map { "$_->{id}$_->{name}" } @rows);
    }) } 1 .. 6;
    return join "\n", map { $_->join } @workers;
}

sub in_children {
    my @results;
    for my $seed (1 .. 4) {
        my $child = open(my $pipe, "-|") // die "fork: $!";
        if (!$child) {
            $state = $seed;
            print sha256_hex(strings()), "\n";
            exit 0;
        }
        push @results, $pipe;
    }
    return join "", map { my $line = <$_>; close($_) or die "child: $?"; $line } @results;
}

my %large = map { $_ => "x" x ($_ * 1000) } 1 .. 300;
printf "hashes %s\n", sha256_hex(hashes());
printf "strings %s\n", sha256_hex(strings());
printf "threads %s\n", sha256_hex(in_threads());
printf "children %s\n", sha256_hex(in_children());
printf "large %s\n", sha256_hex(join "", map { $large{$_} } sort { $a <=> $b } keys %large);
