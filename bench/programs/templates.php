<?php
// SPDX-License-Identifier: MIT
// Records, arrays and a small template engine, as a page of a shop needs them; prints a checksum.

$pages = getenv("METE_BENCH_QUICK") === "1" ? 70 : 1200;
$state = 1;
$random = function (int $bound) use (&$state): int {
    $state = ($state * 1103515245 + 12345) % 2147483648;
    return intdiv($state, 65536) % $bound;
};

function render(string $template, array $values): string {
    return preg_replace_callback('/\{(\w+)\}/', fn($match) => htmlspecialchars($values[$match[1]]), $template);
}

$sum = 0;
$cache = [];
for ($page = 0; $page < $pages; ++$page) {
    $rows = [];
    for ($row = 0; $row < 400; ++$row) {
        $rows[] = ["name" => "item <" . $random(5000) . ">", "price" => (string)$random(10000),
                   "text" => str_repeat("word ", $random(20)), "tags" => array_fill(0, $random(6), "tag")];
    }
    usort($rows, fn($a, $b) => [$a["price"], $a["name"]] <=> [$b["price"], $b["name"]]);
    $html = "";
    foreach ($rows as $row) {
        $row["tags"] = implode(", ", $row["tags"]);
        $html .= render("<p>{name}: {price} <i>{text}</i> {tags}</p>\n", $row);
    }
    $cache["page " . $page % 50] = $html;
    $sum = ($sum * 31 + crc32($html)) % 1000000007;
    $back = json_decode(json_encode($rows), true);
    if ($back !== $rows) {
        exit("json gave back something else\n");
    }
}
echo $sum, " ", array_sum(array_map("strlen", $cache)), "\n";
