/** Reason codes of the gate in words. The codes are those of the policy domain; one that is unknown is shown as it is. */

import { defineTexts, type Text } from "@/i18n/texts";

const reasons = defineTexts({
  default_allow: { en: "Nothing speaks against it.", ko: "막을 이유가 없습니다." },
  approval_allows_action: { en: "An approval allows it.", ko: "승인이 허용합니다." },
  kill_switch_active: { en: "A kill switch is engaged.", ko: "킬 스위치가 켜져 있습니다." },
  kill_switch_unknown: {
    en: "It is not known whether a kill switch is engaged, so nothing leaves this machine.",
    ko: "킬 스위치 상태를 알 수 없어 아무것도 밖으로 나가지 않습니다.",
  },
  agent_quarantined: { en: "The agent is in quarantine: it may only read.", ko: "에이전트가 격리되어 읽기만 할 수 있습니다." },
  agent_principal_required: { en: "The agent does not say which principal it acts as.", ko: "에이전트가 주체를 밝히지 않았습니다." },
  agent_principal_not_found: { en: "No agent of this workspace has that principal.", ko: "이 작업 공간에 그 주체의 에이전트가 없습니다." },
  agent_actor_id_mismatch: { en: "That principal is another agent's.", ko: "다른 에이전트의 주체입니다." },
  capability_token_revoked: { en: "Its capability was revoked.", ko: "권한이 철회되었습니다." },
  capability_token_expired: { en: "Its capability has expired.", ko: "권한이 만료되었습니다." },
  capability_scope_action_not_allowed: { en: "Its capability does not cover this action.", ko: "권한이 이 동작을 포함하지 않습니다." },
  capability_scope_room_not_allowed: { en: "Its capability does not cover this room.", ko: "권한이 이 룸을 포함하지 않습니다." },
  capability_scope_zone_exceeded: { en: "Its capability may not be used in a zone this high.", ko: "이렇게 높은 구역에서는 권한을 쓸 수 없습니다." },
  action_zone_requires_high_stakes: { en: "This action belongs into the zone high_stakes.", ko: "이 동작은 high_stakes 구역에 속합니다." },
  action_zone_mismatch: { en: "This action is not for this zone.", ko: "이 구역의 동작이 아닙니다." },
  action_irreversible_requires_high_stakes: {
    en: "What cannot be undone belongs into the zone high_stakes.",
    ko: "되돌릴 수 없는 일은 high_stakes 구역에 속합니다.",
  },
  action_pre_approval_required: { en: "It needs an approval of exactly what is to be done.", ko: "할 일 그대로에 대한 승인이 필요합니다." },
  external_write_requires_approval: { en: "What leaves this machine needs an approval.", ko: "이 기기를 떠나는 일에는 승인이 필요합니다." },
  "egress.host_not_allowed": { en: "An egress rule denies requests like this one.", ko: "송신 규칙이 이런 요청을 거부합니다." },
  "egress.rule_requires_approval": { en: "An egress rule asks for an approval.", ko: "송신 규칙이 승인을 요구합니다." },
  "egress.rule_allows": { en: "An egress rule allows requests like this one.", ko: "송신 규칙이 이런 요청을 허용합니다." },
  "zone.unregistered_requires_approval": {
    en: "An action that nobody registered needs an approval in the zone high_stakes.",
    ko: "등록되지 않은 동작은 high_stakes 구역에서 승인이 필요합니다.",
  },
  "zone.action_not_allowed": { en: "Actions of this kind are not done in this zone.", ko: "이 구역에서는 이런 동작을 하지 않습니다." },
  "zone.action_requires_approval": { en: "Actions of this kind need an approval in this zone.", ko: "이 구역에서 이런 동작은 승인이 필요합니다." },
  "zone.users_only": { en: "Only people do this.", ko: "사람만 할 수 있습니다." },
  data_access_restricted_room_mismatch: { en: "Restricted data may be touched in its own room only.", ko: "제한된 데이터는 그 룸에서만 다룰 수 있습니다." },
  data_access_purpose_hint_mismatch: { en: "These data are for another purpose.", ko: "다른 목적의 데이터입니다." },
  "policy.rule_matched": { en: "A policy of this installation says so.", ko: "이 설치의 정책이 정한 것입니다." },
  "policy.no_match_default": { en: "No policy of this installation permits it.", ko: "허용하는 정책이 없습니다." },
  "policy.error_fail_closed": { en: "A policy could not be evaluated, so the answer is no.", ko: "정책을 평가하지 못해 거부됩니다." },
  "constraint.learned": { en: "A constraint that a person activated says so.", ko: "사람이 활성화한 제약이 정한 것입니다." },
  quota_exceeded: { en: "The quota of requests that leave the machine is used up.", ko: "외부 요청 할당량을 다 썼습니다." },
  policy_unavailable: { en: "The policy service cannot answer now.", ko: "정책 서비스가 지금 답할 수 없습니다." },
});

export function reasonText(code: string): Text | null {
  return (reasons as Readonly<Record<string, Text>>)[code] ?? null;
}
