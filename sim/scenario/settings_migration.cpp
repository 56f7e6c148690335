#include "scenario/setting_field.hpp"

namespace orrery {

void add_migration_settings(std::vector<Setting>& out) {
  const auto add = [&](auto... rest) {
    out.push_back(bind_setting(std::string("migration"), std::string("migration"), rest...));
  };
  add("migration", "off|llumnix",
      "whether sequences change replicas while they decode, and who goes where (orrery list migrations)",
      ORRERY_MEMBER(migration.policy));
  add("migration_interval", "TIME", "between two looks at all replicas (default 50ms, as Llumnix)",
      ORRERY_MEMBER(migration.interval_s), ValueRange{1e-4, 3600, ValueForm::duration});
  add("migrate_out_threshold", "BLOCKS",
      "KV blocks left for each sequence, below which a replica sends some away (default 3, as Llumnix)",
      ORRERY_MEMBER(migration.threshold_blocks));
  add("migration_max_stages", "N",
      "stages after which a sequence that grows faster than it is sent stays (default 3, as Llumnix)",
      ORRERY_MEMBER(migration.max_stages), ValueRange{1, 1000});
  add("migration_last_stage_max_blocks", "N",
      "KV blocks that may be left to send while a sequence pauses (default 16, as Llumnix)",
      ORRERY_MEMBER(migration.last_stage_blocks), ValueRange{1, 1e6});
  add("urgent_tokens", "N",
      "tokens of a replica beside a sequence with a priority below 0 (default 1600, as Llumnix)",
      ORRERY_MEMBER(migration.urgent_tokens));
}

}  // namespace orrery
