# SPDX-License-Identifier: MIT
# Vectors, lists, strings and data frames made, sorted, grouped and dropped; prints sums of them.
rounds <- if (Sys.getenv("METE_BENCH_QUICK") == "1") 1 else 10
set.seed(1)
total <- 0
for (round in seq_len(rounds)) {
  count <- if (rounds == 1) 10000 else 20000
  frame <- data.frame(id = seq_len(count), group = sample.int(500, count, replace = TRUE),
                      value = runif(count), name = paste0("name ", sample.int(5000, count, TRUE)))
  frame <- frame[order(frame$group, frame$value), ]
  means <- tapply(frame$value, frame$group, mean)
  parts <- lapply(split(frame, frame$group), function(part) list(nrow(part), summary(part$value)))
  words <- strsplit(frame$name, " ")
  numbers <- vapply(words, function(each) as.numeric(each[2]), 0)
  fit <- lm(value ~ numbers, data = frame)
  total <- total + sum(means) + sum(numbers) + length(parts) + sum(abs(residuals(fit)))
}
cat(format(total, digits = 12), "\n")
