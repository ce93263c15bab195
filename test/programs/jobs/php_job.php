<?php
// SPDX-License-Identifier: MIT
// Arrays, strings, objects with reference cycles, regular expressions, compression and forked
// children; each part prints a digest of what it built. The argument multiplies the work.
$scale = (int)$argv[1];
mt_srand(12345);

class Node
{
    public array $children = [];
    public ?Node $parent = null;
    public function __construct(public string $name) {}
}

function arrays(int $scale): string
{
    $table = [];
    for ($round = 0; $round < 150000 * $scale; $round++) {
        $key = 'k' . mt_rand(0, 20000);
        $table[$key][] = str_repeat(chr(97 + mt_rand(0, 25)), mt_rand(0, 60));
        if ($round % 3 === 0) {
            unset($table['k' . mt_rand(0, 20000)]);
        }
    }
    ksort($table, SORT_STRING);
    return hash('sha256', json_encode(unserialize(serialize($table))));
}

function strings(int $scale): string
{
    $text = '';
    for ($round = 0; $round < 60000 * $scale; $round++) {
        $text .= dechex(mt_rand()) . '-' . mt_rand(0, 99) . ' ';
    }
    $swapped = preg_replace_callback('/([0-9a-f]+)-(\d+)/', fn($m) => "$m[2]:$m[1]", $text);
    $words = explode(' ', strtoupper($swapped));
    sort($words, SORT_STRING);
    return hash('sha256', gzuncompress(gzcompress(implode("\n", $words), 9)));
}

// Only the cycle collector can free these.
function cycles(int $scale): string
{
    $names = '';
    for ($round = 0; $round < 3000 * $scale; $round++) {
        $root = new Node("root$round");
        for ($child = 0; $child < 20; $child++) {
            $node = new Node(str_repeat('n', mt_rand(1, 100)));
            $node->parent = $root;
            $root->children[] = $node;
        }
        $names .= strlen($root->children[mt_rand(0, 19)]->name) . ',';
    }
    gc_collect_cycles();
    return hash('sha256', $names);
}

function children(): string
{
    $pids = [];
    foreach (range(1, 4) as $seed) {
        $pid = pcntl_fork();
        if ($pid === 0) {
            mt_srand($seed);
            file_put_contents("child$seed", arrays(1));
            exit(0);
        }
        $pids[$seed] = $pid;
    }
    $out = '';
    foreach ($pids as $seed => $pid) {
        pcntl_waitpid($pid, $status);
        $out .= "$status " . file_get_contents("child$seed") . ';';
    }
    return $out;
}

printf("arrays %s\n", arrays($scale));
printf("strings %s\n", strings($scale));
printf("cycles %s\n", cycles($scale));
printf("children %s\n", children());
printf("large %s\n", hash('sha256', str_repeat(implode(',', range(1, 200000)), 8)));
