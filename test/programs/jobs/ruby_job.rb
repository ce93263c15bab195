# SPDX-License-Identifier: MIT
# Hashes, large strings, objects moved by GC.compact, threads, fibers, forked children; each part
# prints a digest of what it built. The argument multiplies the work.
require "digest"
require "json"

SCALE = Integer(ARGV.fetch(0))
RANDOM = Random.new(12_345)

def hashes(random, rounds)
  table = {}
  rounds.times do |round|
    key = "key#{random.rand(20_000)}"
    (table[key] ||= []) << ("v" * random.rand(60)) << round
    table.delete("key#{random.rand(20_000)}") if (round % 3).zero?
  end
  JSON.generate(JSON.parse(JSON.generate(table.sort)))
end

def strings(random, rounds)
  text = +""
  rounds.times { text << random.rand(1 << 30).to_s(16) << "-" << ("ab" * random.rand(40)) << " " }
  text.gsub(/([0-9a-f]+)-((?:ab)*)/) { "#{$2}:#{$1}" }.split.sort.join("\n").upcase
end

def compacted(random)
  kept = Array.new(200_000) do |index|
    index.even? ? "s" * random.rand(100) : [index, nil, index.to_s]
  end
  kept.each_index { |index| kept[index] = nil unless (index % 5).zero? }
  3.times { GC.compact }
  GC.verify_compaction_references(toward: :empty) if SCALE > 1
  Marshal.dump(Marshal.load(Marshal.dump(kept.compact)))
end

def stressed(random)
  GC.stress = true
  Array.new(60) { |index| { index => "x" * random.rand(2000) } }.inspect
ensure
  GC.stress = false
end

def threads
  workers = Array.new(8) { |seed| Thread.new { hashes(Random.new(seed), 8_000) } }
  workers.map(&:value).join("\n")
end

def fibers(random)
  makers = Array.new(500) do |index|
    Fiber.new { loop { Fiber.yield "f" * random.rand(300) + index.to_s } }
  end
  Array.new(10) { makers.map(&:resume) }.join(",")
end

def children
  outputs = Array.new(3) do |seed|
    IO.popen("-") { |pipe| pipe ? pipe.read : print(strings(Random.new(seed), 5_000)) }
  end
  outputs.join
end

puts "hashes #{Digest::SHA256.hexdigest(hashes(RANDOM, 60_000 * SCALE))}"
puts "strings #{Digest::SHA256.hexdigest(strings(RANDOM, 40_000 * SCALE))}"
puts "compacted #{Digest::SHA256.hexdigest(compacted(RANDOM))}"
puts "stressed #{Digest::SHA256.hexdigest(stressed(RANDOM))}"
puts "threads #{Digest::SHA256.hexdigest(threads)}"
puts "fibers #{Digest::SHA256.hexdigest(fibers(RANDOM))}"
puts "children #{Digest::SHA256.hexdigest(children)}"
puts "large #{Digest::SHA256.hexdigest((1..40).map { |size| "x" * size * 100_000 }.join)}"
