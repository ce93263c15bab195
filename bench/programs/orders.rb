# SPDX-License-Identifier: MIT
# Objects, strings, symbols and hashes as a web application makes them; prints a checksum.
Order = Struct.new(:id, :customer, :lines, :note)

count = ENV["METE_BENCH_QUICK"] == "1" ? 20_000 : 150_000
state = 1
random = ->(bound) { (state = (state * 1103515245 + 12345) % 2147483648) / 65536 % bound }

orders = Array.new(count) do |id|
  lines = Array.new(1 + random.(6)) { { item: "item #{random.(3000)}", amount: 1 + random.(9) } }
  Order.new(id, "customer-#{random.(count / 8 + 1)}", lines, "x" * random.(200))
end
by_customer = orders.group_by(&:customer)
totals = by_customer.transform_values { |all| all.sum { |order| order.lines.sum { |l| l[:amount] } } }
report = totals.sort_by { |name, total| [-total, name] }.map { |name, total| "#{name}: #{total}" }
text = report.join("\n").gsub(/customer-(\d+)/) { "c#{$1.rjust(6, '0')}" }
sum = text.each_line.reduce(0) { |all, line| (all * 31 + line.sum) % 1_000_000_007 }
orders.each_slice(2) { |order, _| order.note = order.note.reverse + order.customer }
puts "#{sum} #{orders.sum { |order| order.note.size }}"
