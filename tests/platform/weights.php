<?php
// A reading of weights.json in plain PHP, for the test beside it: php weights.php WEIGHTS BATCH.
//
// BATCH is a JSON list of photographs: {"vectors": [numbers, side by side], "distance": index or null}.
// Standard output is a JSON list of their logits. Nothing but the file says which layers there are.

[$program, $weights_file, $batch_file] = $argv;
$content = json_decode(file_get_contents($weights_file), true, 512, JSON_THROW_ON_ERROR);
$state = $content["state_dict"];

$layers = [];
foreach (array_keys($state) as $name) {
    if (preg_match('/^(.*?)(\d+)\.weight$/', $name, $found)) {
        $layers[(int) $found[2]] = $found[1] . $found[2];
    }
}
ksort($layers);
$last = end($layers);

$answers = [];
foreach (json_decode(file_get_contents($batch_file), true, 512, JSON_THROW_ON_ERROR) as $photograph) {
    $values = $photograph["vectors"];
    if ($photograph["distance"] !== null) {
        $values = array_merge($values, $state["dist_emb.weight"][$photograph["distance"]]);
    }
    foreach ($layers as $layer) {
        $next = [];
        foreach ($state["$layer.weight"] as $output => $row) {
            if (count($row) !== count($values)) {
                throw new LengthException("$layer takes " . count($row) . " numbers, not " . count($values));
            }
            $sum = $state["$layer.bias"][$output];
            foreach ($row as $input => $weight) {
                $sum += $weight * $values[$input];
            }
            $next[] = $layer === $last ? $sum : max($sum, 0.0);
        }
        $values = $next;
    }
    $answers[] = $values;
}
echo json_encode($answers, JSON_THROW_ON_ERROR), "\n";
