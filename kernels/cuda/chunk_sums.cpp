// Cutting sums into chunks, pieces and batches.
#include "chunk_sums.hpp"

#include <algorithm>

#include "concerto/data/partition.hpp"

namespace concerto::cuda {

ChunkParts cut_chunks(RowIndex table_rows, RowRange rows, std::span<const EntryIndex> offsets,
                      std::uint64_t piece_length) {
  ChunkParts cut;
  cut.piece_length = piece_length;
  if (rows.begin >= rows.end) return cut;
  const RowIndex first = rows.begin / chunk_rows(table_rows);
  const RowIndex last = (rows.end - 1) / chunk_rows(table_rows);
  cut.parts.reserve(std::size_t{last} - first + 1);
  for (RowIndex chunk = first; chunk <= last; ++chunk) {
    const RowRange whole = chunk_range(table_rows, chunk);
    ChunkPart part;
    part.rows = {std::max(whole.begin, rows.begin), std::min(whole.end, rows.end)};
    part.begin = offsets.empty() ? part.rows.begin : offsets[part.rows.begin];
    part.end = offsets.empty() ? part.rows.end : offsets[part.rows.end];
    part.first_piece = cut.pieces;
    cut.pieces += (part.end - part.begin + piece_length - 1) / piece_length;
    cut.parts.push_back(part);
  }
  return cut;
}

std::vector<EntryBatch> cut_batches(const ChunkParts& cut, EntryIndex most_entries, RowIndex most_rows) {
  std::vector<EntryBatch> batches;
  std::uint64_t piece = 0;
  for (const ChunkPart& part : cut.parts) {
    for (std::uint64_t begin = part.begin; begin < part.end; begin += cut.piece_length, ++piece) {
      const std::uint64_t end = std::min(part.end, begin + cut.piece_length);
      const bool fits = !batches.empty() && end - batches.back().begin <= most_entries &&
                        part.rows.end - batches.back().rows.begin <= most_rows;
      if (!fits) batches.push_back({piece, piece, begin, begin, part.rows});
      EntryBatch& batch = batches.back();
      batch.end_piece = piece + 1;
      batch.end = end;
      batch.rows.end = part.rows.end;
    }
  }
  return batches;
}

}  // namespace concerto::cuda
