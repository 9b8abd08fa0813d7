/** Every text of the page in English and Chinese, and the forms of times and days. */

const EN = {
  appName: "Serverless IM",
  tagline: "Messages that arrive once, in order, on every device.",
  chooseUser: "Choose who you are",
  signInToken: "Sign in with a token",
  websocketUrl: "WebSocket URL",
  token: "Token",
  signIn: "Sign in",
  signOut: "Sign out",
  badUrl: "Enter a ws:// or wss:// address.",
  badToken: "This is not a token with a user id in it.",
  unknownUser: "There is no user “{user}” here.",
  loading: "Loading…",
  language: "切换到中文",
  languageShort: "中",
  languageName: "中文",
  conversations: "Conversations",
  newConversation: "New conversation",
  noConversations: "No conversations yet",
  noConversationsHint: "Start one with a person or a group.",
  selectConversation: "Your messages",
  selectConversationHint: "Pick a conversation on the left, or start a new one.",
  back: "Back to conversations",
  direct: "Direct message",
  group: "Group",
  groupOf: "Group · {count} members",
  groupOfOne: "Group · 1 member",
  userId: "User ID",
  userIdHint: "Letters, digits, “_” and “-”.",
  people: "People",
  startChat: "Start chat",
  groupName: "Group name",
  members: "Members",
  membersHint: "User IDs, separated by commas or spaces.",
  createGroup: "Create group",
  cancel: "Cancel",
  close: "Close",
  badUserId: "“{user}” is not a user ID.",
  ownUserId: "That is you. Enter somebody else’s user ID.",
  groupNeedsName: "Give the group a name.",
  groupNeedsMembers: "Add at least one other member.",
  groupInfo: "Group info",
  notice: "Notice",
  role_owner: "Owner",
  role_admin: "Admin",
  you: "You",
  youObject: "you",
  youSuffix: "{name} (you)",
  more: "Show more",
  writeMessage: "Write a message",
  send: "Send",
  composerHint: "Enter sends · Shift + Enter for a new line",
  tooLong: "This message is too long: {size} KiB of at most {max} KiB. Shorten it, or send it in parts.",
  messages: "Messages",
  sending: "Sending",
  sent: "Sent",
  delivered: "Delivered",
  read: "Read",
  notSent: "Not sent",
  retry: "Try again",
  discard: "Delete",
  newMessages: "New messages",
  jumpToLatest: "Jump to the latest",
  emptyThread: "Say hello to {name}",
  emptyGroup: "Be the first to write in {name}",
  startOfThread: "This is the beginning of your conversation with {name}.",
  startOfGroup: "This is the beginning of {name}.",
  today: "Today",
  yesterday: "Yesterday",
  unreadCount: "{count} unread",
  edited: "edited",
  recalledBy: "{name} recalled a message",
  recalledByYou: "You recalled a message",
  recalledOf: "{by} recalled a message from {name}",
  quoteRecalled: "Message recalled",
  quoteGone: "This message is not available",
  forwardedFrom: "Forwarded from {name}",
  pinnedMark: "Pinned",
  draftPrefix: "[Draft] {text}",
  typingOne: "{name} is typing…",
  typingSome: "Several people are typing…",
  messageActions: "Message actions",
  conversationActions: "Conversation actions",
  reactWith: "React with {emoji}",
  reactionOf: "{emoji} {count}: {names}",
  andMore: "{names} and {count} more",
  reply: "Reply",
  edit: "Edit",
  recall: "Recall",
  pin: "Pin",
  unpin: "Unpin",
  mute: "Mute",
  unmute: "Unmute",
  mutedMark: "Muted",
  hide: "Hide",
  deleteForMe: "Delete for me",
  readBy: "Read by",
  replyingTo: "Replying to {name}",
  editing: "Edit message",
  save: "Save",
  receiptsCount: "Delivered to {delivered} of {members} · read by {read}",
  receiptsPrivate: "{count} do not show it",
  receiptsOwn: "You do not show others what you have read.",
  receiptsRead: "Read",
  receiptsUnread: "Not read yet",
  nobody: "Nobody",
  tooLate: "It is too late to change this message.",
  alreadyRecalled: "This message was recalled.",
  youPrefix: "You: {text}",
  namePrefix: "{name}: {text}",
  groupFounded: "{by} created the group “{name}”",
  groupLeft: "You are no longer in this group.",
  groupDissolved: "This group was dissolved.",
  membersAdded: "{by} added {names}",
  membersJoined: "{by} joined",
  membersRemoved: "{by} removed {names}",
  membersLeft: "{by} left",
  membersChanged: "The members changed",
  roleOwner: "{by} made {name} the owner",
  roleAdmin: "{by} made {name} an admin",
  roleMember: "{by} took the admin role from {name}",
  memberMutedUntil: "{by} muted {name} until {time}",
  memberMuted: "{by} muted {name}",
  memberUnmuted: "{by} unmuted {name}",
  profileName: "{by} changed the name to “{name}”",
  profileNotice: "{by} changed the notice",
  profileNoticeRemoved: "{by} removed the notice",
  profileAvatar: "{by} changed the picture",
  profileHistoryShown: "{by} let new members see earlier messages",
  profileHistoryHidden: "{by} hid earlier messages from new members",
  profileJoinOpen: "{by} let anybody join",
  profileJoinApproval: "{by} made joining need approval",
  profileJoinInvite: "{by} made the group invite-only",
  profileInviteMembers: "{by} let all members invite others",
  profileInviteAdmins: "{by} let only admins invite others",
  profileMentionMembers: "{by} let all members mention everybody",
  profileMentionAdmins: "{by} let only admins mention everybody",
  allMutedUntil: "{by} muted everybody until {time}",
  allMuted: "{by} muted everybody",
  allUnmuted: "{by} let everybody write again",
  profileDissolved: "{by} dissolved the group",
  profileChangedBy: "{by} changed the group’s details",
  profileChanged: "The group’s details changed",
  pinned: "{name} pinned a message",
  unpinned: "{name} unpinned a message",
  unsupported: "Something this page cannot show ({kind})",
  kind_image: "Image",
  kind_voice: "Voice message",
  kind_video: "Video",
  kind_file: "File",
  kind_location: "Location",
  kind_card: "Contact card",
  kind_custom: "Custom message",
  kind_redpacket: "Red packet",
  kind_merged: "Chat history",
  sendPacket: "Send a red packet",
  packetKind: "Kind of red packet",
  packetLucky: "Lucky",
  packetEqual: "Equal",
  packetOne: "For one",
  packetTo: "Who may open it",
  packetNobody: "There is nobody else in this group.",
  packetTotal: "Total amount",
  packetEach: "Amount of each",
  packetAmount: "Amount",
  packetCount: "Number of packets",
  packetCountHint: "This group has {count} members.",
  packetLuckyHint: "How much each one gets is drawn at random.",
  packetEqualHint: "Everybody who opens it gets this much.",
  packetGreeting: "Greeting",
  packetGreetingDefault: "Best wishes",
  packetSumLabel: "To pay",
  packetSumOf: "{count} packets of {amount}",
  packetBalance: "Balance {amount}",
  packetBalanceLow: "Balance {amount}: not enough",
  packetSubmit: "Send red packet",
  packetSending: "Sending…",
  packetGiveUp: "Stop trying",
  packetUnknown: "The server has not confirmed this red packet. Try again: it is paid and sent at most once.",
  packetRefused: "The server does not accept this: the amount or the number of packets is too large.",
  packetMemberGone: "Whoever this is for is not in this group.",
  packetConflict: "This red packet was not sent. Send it again.",
  amountMissing: "Enter an amount.",
  amountForm: "Enter the amount as a number, such as 12.34.",
  amountDecimals: "An amount has at most two decimals, such as 12.34.",
  amountZero: "Enter an amount above 0.",
  amountLarge: "This amount is too large.",
  packetCountForm: "Enter how many packets: a whole number from 1.",
  packetTooThin: "Each packet holds at least 0.01: enter {amount} or more.",
  packetNeedsMember: "Choose who may open it.",
  packetLuckyName: "Lucky red packet",
  packetExclusiveName: "Red packet for one",
  packetTap: "Tap to open",
  packetOpened: "Opened · {amount}",
  packetOpenedByOther: "Opened",
  packetFinished: "All taken",
  packetExpired: "Expired",
  packetWaiting: "Not opened yet",
  packetProgress: "{claimed} of {count} opened",
  packetFor: "For {name}",
  packetForYou: "For you",
  packetNotYours: "Not for you",
  packetLabel: "{kind} from {name}: {greeting} · {status}",
  packetOf: "Red packet from {name}",
  packetOpen: "Open",
  packetDetails: "See the details",
  packetSoldOut: "Too late: all of it is taken.",
  packetTooLate: "This red packet has expired.",
  packetOnlyFor: "Only {name} can open this red packet.",
  packetBeforeYou: "You cannot open this: it was sent before you joined.",
  packetGone: "This red packet does not exist any more.",
  packetReceived: "You received {amount}",
  packetInWallet: "It goes to your wallet",
  packetSummary: "{claimed} of {count} opened · {total} in all",
  packetSummaryAll: "All {count} opened · {total} in all",
  packetSummaryOne: "{total} in all",
  packetRefunded: "{amount} came back",
  packetBest: "Luckiest",
  newsOpened: "{names} opened your red packet",
  newsOwn: "You opened a red packet from {name}",
  newsOwnOfYours: "You opened your own red packet",
  newsFinished: "all taken",
  newsBest: "luckiest: {name}",
  newsRefunded: "Your red packet expired: {amount} came back",
  wallet: "Wallet",
  walletBalance: "Balance",
  walletElsewhere: "Your money is kept by another system: it is not shown here.",
  walletLedger: "History",
  walletReceived: "Received",
  walletSent: "Sent",
  walletEmpty: "Nothing yet",
  postingOpening: "Opening balance",
  postingSent: "Red packet sent",
  postingReceived: "Red packet opened",
  postingRefund: "Red packet returned",
  postingOther: "Other",
  online: "Connected",
  paused: "Paused",
  connecting: "Connecting…",
  offline: "You are offline. Messages will be sent once you are back.",
  reconnecting: "Connection lost. Reconnecting…",
  cannotConnect: "Cannot connect. The server is away, or your sign-in has expired.",
  tryNow: "Try now",
  kickedReplaced: "You are signed in elsewhere. This page is paused.",
  kickedLogout: "You have been signed out.",
  kickedBanned: "This account has been suspended.",
  kickedOther: "The server ended this session.",
  useHere: "Use here",
  historyFailed: "The messages could not be loaded.",
  error_bad_request: "The server did not understand the request.",
  error_unknown_route: "The server does not offer this.",
  error_unauthorized: "Please sign in again.",
  error_forbidden: "You are not allowed to do this.",
  error_not_found: "This does not exist.",
  error_not_member: "You are not a member of this conversation.",
  error_blocked: "This person does not accept messages from you.",
  error_muted: "You are muted in this conversation.",
  mutedHereUntil: "You are muted in this conversation until {time}.",
  error_too_large: "The message is too large.",
  error_rate_limited: "Too many messages at once. Wait a moment.",
  error_conflict: "Somebody else changed this at the same time.",
  error_expired: "This has expired.",
  error_sold_out: "All taken.",
  error_already_claimed: "You already claimed this.",
  error_insufficient_funds: "Your balance is too low.",
  error_unavailable: "The server is busy. Try again in a moment.",
  error_internal: "Something went wrong on the server.",
  error_timeout: "The server did not answer.",
  error_closed: "The connection was closed.",
  error_other: "The server refused this ({code}).",
};

/** @type {typeof EN} */
const ZH = {
  appName: "Serverless IM",
  tagline: "每条消息，准时、有序、不重复地送达每台设备。",
  chooseUser: "选择您的身份",
  signInToken: "使用令牌登录",
  websocketUrl: "WebSocket 地址",
  token: "令牌",
  signIn: "登录",
  signOut: "退出登录",
  badUrl: "请输入以 ws:// 或 wss:// 开头的地址。",
  badToken: "这不是包含用户 ID 的有效令牌。",
  unknownUser: "这里没有用户“{user}”。",
  loading: "加载中…",
  language: "Switch to English",
  languageShort: "EN",
  languageName: "English",
  conversations: "会话",
  newConversation: "新建会话",
  noConversations: "还没有会话",
  noConversationsHint: "找个人或者建个群聊聊吧。",
  selectConversation: "您的消息",
  selectConversationHint: "在左侧选择一个会话，或新建会话。",
  back: "返回会话列表",
  direct: "单聊",
  group: "群聊",
  groupOf: "群聊 · {count} 位成员",
  groupOfOne: "群聊 · 1 位成员",
  userId: "用户 ID",
  userIdHint: "可使用字母、数字、“_”和“-”。",
  people: "联系人",
  startChat: "开始聊天",
  groupName: "群名称",
  members: "成员",
  membersHint: "填写用户 ID，用逗号或空格分隔。",
  createGroup: "创建群聊",
  cancel: "取消",
  close: "关闭",
  badUserId: "“{user}”不是有效的用户 ID。",
  ownUserId: "这是您自己，请输入其他人的用户 ID。",
  groupNeedsName: "请填写群名称。",
  groupNeedsMembers: "请至少添加一位其他成员。",
  groupInfo: "群信息",
  notice: "群公告",
  role_owner: "群主",
  role_admin: "管理员",
  you: "您",
  youObject: "您",
  youSuffix: "{name}（您）",
  more: "显示更多",
  writeMessage: "输入消息",
  send: "发送",
  composerHint: "Enter 发送 · Shift + Enter 换行",
  tooLong: "消息过长：{size} KiB，上限为 {max} KiB。请精简或分段发送。",
  messages: "消息",
  sending: "发送中",
  sent: "已发送",
  delivered: "已送达",
  read: "已读",
  notSent: "未发送",
  retry: "重试",
  discard: "删除",
  newMessages: "新消息",
  jumpToLatest: "跳到最新消息",
  emptyThread: "向 {name} 打个招呼吧",
  emptyGroup: "在 {name} 里说第一句话吧",
  startOfThread: "这是您与 {name} 会话的开始。",
  startOfGroup: "这是 {name} 的开始。",
  today: "今天",
  yesterday: "昨天",
  unreadCount: "{count} 条未读",
  edited: "已编辑",
  recalledBy: "{name} 撤回了一条消息",
  recalledByYou: "您撤回了一条消息",
  recalledOf: "{by} 撤回了 {name} 的一条消息",
  quoteRecalled: "消息已撤回",
  quoteGone: "无法查看此消息",
  forwardedFrom: "转发自 {name}",
  pinnedMark: "已置顶",
  draftPrefix: "[草稿] {text}",
  typingOne: "{name} 正在输入…",
  typingSome: "多人正在输入…",
  messageActions: "消息操作",
  conversationActions: "会话操作",
  reactWith: "回应 {emoji}",
  reactionOf: "{emoji} {count}：{names}",
  andMore: "{names} 等另外 {count} 人",
  reply: "回复",
  edit: "编辑",
  recall: "撤回",
  pin: "置顶",
  unpin: "取消置顶",
  mute: "消息免打扰",
  unmute: "取消免打扰",
  mutedMark: "已免打扰",
  hide: "隐藏会话",
  deleteForMe: "为我删除",
  readBy: "查看已读",
  replyingTo: "回复 {name}",
  editing: "编辑消息",
  save: "保存",
  receiptsCount: "已送达 {delivered}/{members} · 已读 {read}",
  receiptsPrivate: "{count} 人未公开",
  receiptsOwn: "您未公开自己的已读状态。",
  receiptsRead: "已读",
  receiptsUnread: "未读",
  nobody: "无",
  tooLate: "已超过可修改此消息的时间。",
  alreadyRecalled: "此消息已被撤回。",
  youPrefix: "您：{text}",
  namePrefix: "{name}：{text}",
  groupFounded: "{by} 创建了群聊“{name}”",
  groupLeft: "您已不在此群聊中。",
  groupDissolved: "此群聊已解散。",
  membersAdded: "{by} 邀请 {names} 加入了群聊",
  membersJoined: "{by} 加入了群聊",
  membersRemoved: "{by} 将 {names} 移出了群聊",
  membersLeft: "{by} 退出了群聊",
  membersChanged: "群成员有变化",
  roleOwner: "{by} 将群主转让给了 {name}",
  roleAdmin: "{by} 将 {name} 设为管理员",
  roleMember: "{by} 取消了 {name} 的管理员身份",
  memberMutedUntil: "{by} 将 {name} 禁言至 {time}",
  memberMuted: "{by} 将 {name} 禁言",
  memberUnmuted: "{by} 解除了 {name} 的禁言",
  profileName: "{by} 将群名称改为“{name}”",
  profileNotice: "{by} 修改了群公告",
  profileNoticeRemoved: "{by} 删除了群公告",
  profileAvatar: "{by} 更换了群头像",
  profileHistoryShown: "{by} 允许新成员查看历史消息",
  profileHistoryHidden: "{by} 不再允许新成员查看历史消息",
  profileJoinOpen: "{by} 允许任何人加入群聊",
  profileJoinApproval: "{by} 将入群方式改为需要审批",
  profileJoinInvite: "{by} 将入群方式改为仅限邀请",
  profileInviteMembers: "{by} 允许所有成员邀请他人",
  profileInviteAdmins: "{by} 设置为仅管理员可邀请他人",
  profileMentionMembers: "{by} 允许所有成员提及全体成员",
  profileMentionAdmins: "{by} 设置为仅管理员可提及全体成员",
  allMutedUntil: "{by} 开启了全员禁言，至 {time}",
  allMuted: "{by} 开启了全员禁言",
  allUnmuted: "{by} 解除了全员禁言",
  profileDissolved: "{by} 解散了群聊",
  profileChangedBy: "{by} 更新了群资料",
  profileChanged: "群资料已更新",
  pinned: "{name} 置顶了一条消息",
  unpinned: "{name} 取消了一条置顶",
  unsupported: "此页面无法显示的内容（{kind}）",
  kind_image: "图片",
  kind_voice: "语音",
  kind_video: "视频",
  kind_file: "文件",
  kind_location: "位置",
  kind_card: "名片",
  kind_custom: "自定义消息",
  kind_redpacket: "红包",
  kind_merged: "聊天记录",
  sendPacket: "发红包",
  packetKind: "红包类型",
  packetLucky: "拼手气",
  packetEqual: "普通",
  packetOne: "专属",
  packetTo: "发给谁",
  packetNobody: "此群里没有其他人。",
  packetTotal: "总金额",
  packetEach: "单个金额",
  packetAmount: "金额",
  packetCount: "红包个数",
  packetCountHint: "本群共 {count} 人。",
  packetLuckyHint: "每人抽到的金额随机。",
  packetEqualHint: "每人收到的金额相同。",
  packetGreeting: "祝福语",
  packetGreetingDefault: "恭喜发财，大吉大利",
  packetSumLabel: "需支付",
  packetSumOf: "{count} 个红包，每个 {amount}",
  packetBalance: "余额 {amount}",
  packetBalanceLow: "余额 {amount}，不足",
  packetSubmit: "塞钱进红包",
  packetSending: "发送中…",
  packetGiveUp: "不再重试",
  packetUnknown: "服务器尚未确认此红包。请重试：最多只会扣款并发送一次。",
  packetRefused: "服务器不接受：金额或红包个数过大。",
  packetMemberGone: "领取人不在此群中。",
  packetConflict: "此红包未发出，请重新发送。",
  amountMissing: "请输入金额。",
  amountForm: "请用数字输入金额，例如 12.34。",
  amountDecimals: "金额最多两位小数，例如 12.34。",
  amountZero: "金额必须大于 0。",
  amountLarge: "金额过大。",
  packetCountForm: "请输入红包个数：不小于 1 的整数。",
  packetTooThin: "每个红包至少 0.01，请输入不少于 {amount} 的金额。",
  packetNeedsMember: "请选择领取人。",
  packetLuckyName: "拼手气红包",
  packetExclusiveName: "专属红包",
  packetTap: "点击领取",
  packetOpened: "已领取 · {amount}",
  packetOpenedByOther: "已被领取",
  packetFinished: "已被领完",
  packetExpired: "已过期",
  packetWaiting: "等待对方领取",
  packetProgress: "已领取 {claimed}/{count} 个",
  packetFor: "给 {name} 的红包",
  packetForYou: "给您的红包",
  packetNotYours: "您不能领取",
  packetLabel: "{name} 的{kind}：{greeting} · {status}",
  packetOf: "{name} 的红包",
  packetOpen: "開",
  packetDetails: "查看领取详情",
  packetSoldOut: "手慢了，红包派完了。",
  packetTooLate: "该红包已过期。",
  packetOnlyFor: "只有 {name} 可以领取此红包。",
  packetBeforeYou: "您不能领取：此红包在您入群之前发出。",
  packetGone: "此红包已不存在。",
  packetReceived: "您领取了 {amount}",
  packetInWallet: "存入钱包",
  packetSummary: "已领取 {claimed}/{count} 个 · 共 {total}",
  packetSummaryAll: "{count} 个红包已被领完 · 共 {total}",
  packetSummaryOne: "共 {total}",
  packetRefunded: "已退回 {amount}",
  packetBest: "手气最佳",
  newsOpened: "{names} 领取了您的红包",
  newsOwn: "您领取了 {name} 的红包",
  newsOwnOfYours: "您领取了自己的红包",
  newsFinished: "已被领完",
  newsBest: "手气最佳：{name}",
  newsRefunded: "您的红包已过期，退回 {amount}",
  wallet: "钱包",
  walletBalance: "余额",
  walletElsewhere: "您的资金由其他系统保管，此处不显示。",
  walletLedger: "明细",
  walletReceived: "收到的红包",
  walletSent: "发出的红包",
  walletEmpty: "暂无记录",
  postingOpening: "初始余额",
  postingSent: "发出红包",
  postingReceived: "领取红包",
  postingRefund: "红包退回",
  postingOther: "其他",
  online: "已连接",
  paused: "已暂停",
  connecting: "连接中…",
  offline: "您已离线，恢复网络后消息会自动发送。",
  reconnecting: "连接已断开，正在重连…",
  cannotConnect: "无法连接：服务器不可用，或登录已过期。",
  tryNow: "立即重试",
  kickedReplaced: "您已在其他地方登录，此页面已暂停。",
  kickedLogout: "您已退出登录。",
  kickedBanned: "此账号已被停用。",
  kickedOther: "服务器结束了此会话。",
  useHere: "在此使用",
  historyFailed: "消息加载失败。",
  error_bad_request: "服务器无法理解该请求。",
  error_unknown_route: "服务器不支持此操作。",
  error_unauthorized: "请重新登录。",
  error_forbidden: "您没有权限执行此操作。",
  error_not_found: "内容不存在。",
  error_not_member: "您不是此会话的成员。",
  error_blocked: "对方不接收您的消息。",
  error_muted: "您在此会话中已被禁言。",
  mutedHereUntil: "您在此会话中已被禁言至 {time}。",
  error_too_large: "消息过大。",
  error_rate_limited: "发送过于频繁，请稍候。",
  error_conflict: "其他人同时修改了此内容。",
  error_expired: "已过期。",
  error_sold_out: "已被领完。",
  error_already_claimed: "您已经领取过了。",
  error_insufficient_funds: "余额不足。",
  error_unavailable: "服务器繁忙，请稍后重试。",
  error_internal: "服务器出错了。",
  error_timeout: "服务器没有响应。",
  error_closed: "连接已关闭。",
  error_other: "服务器拒绝了请求（{code}）。",
};

/** @typedef {keyof typeof EN} Key */
/** @typedef {"en"|"zh"} Language */

const TEXTS = { en: EN, zh: ZH };
const LOCALES = { en: "en", zh: "zh-CN" };
const STORAGE_KEY = "im.language";
const FOR_EVER_MS = 10 * 366 * 86_400_000;

/** @type {Language} */
let language = initialLanguage();
/** @type {Record<string, Intl.DateTimeFormat>} */
let formats = makeFormats();

/** @returns {Language} */
function initialLanguage() {
  let stored = null;
  try {
    stored = localStorage.getItem(STORAGE_KEY);
  } catch {
    // Storage is forbidden: follow the browser.
  }
  if (stored === "en" || stored === "zh") return stored;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

function makeFormats() {
  // English follows the reader's own region where there is one: 24 hours or 12, day or month first.
  const locale = language === "en" && navigator.language.startsWith("en") ? navigator.language : LOCALES[language];
  const format = (options) => new Intl.DateTimeFormat(locale, options);
  return {
    time: format({ hour: "2-digit", minute: "2-digit" }),
    full: format({ dateStyle: "full", timeStyle: "medium" }),
    weekday: format({ weekday: "long" }),
    day: format({ weekday: "long", month: "long", day: "numeric" }),
    dayOfYear: format({ year: "numeric", month: "long", day: "numeric" }),
    short: format({ month: "short", day: "numeric" }),
    moment: format({ month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" }),
    momentOfYear: format({ dateStyle: "medium", timeStyle: "short" }),
    shortOfYear: format({ year: "numeric", month: "numeric", day: "numeric" }),
  };
}

export const currentLanguage = () => language;

/** @param {Language} next */
export function setLanguage(next) {
  language = next;
  formats = makeFormats();
  try {
    localStorage.setItem(STORAGE_KEY, next);
  } catch {
    // Storage is forbidden: the choice lasts as long as the page.
  }
}

/**
 * @param {Key} key
 * @param {Record<string, string|number>} [values] put in place of `{name}`
 */
export function t(key, values = {}) {
  return TEXTS[language][key].replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

/** A readable text for an error code, known or not. @param {string} code */
export function errorText(code) {
  const key = `error_${code}`;
  return Object.hasOwn(EN, key) ? t(/** @type {Key} */ (key)) : t("error_other", { code });
}

/** @param {string} kind @returns {string|null} */
export function kindName(kind) {
  const key = `kind_${kind}`;
  return Object.hasOwn(EN, key) ? t(/** @type {Key} */ (key)) : null;
}

/** Names in a row, the way the language joins them. @param {string[]} names */
export const joinNames = (names) => new Intl.ListFormat(LOCALES[language]).format(names);

/** @param {number} ts */
export const dayKey = (ts) => new Date(ts).toDateString();

/** @param {number} ts */
const daysAgo = (ts) => Math.round((new Date().setHours(0, 0, 0, 0) - new Date(ts).setHours(0, 0, 0, 0)) / 86_400_000);

/** @param {number} ts */
export const clock = (ts) => formats.time.format(ts);

/** @param {number} ts */
export const fullTime = (ts) => formats.full.format(ts);

/**
 * A point of time as seen from another one: with its day where that is another day, with its year where that is too.
 * @param {number} ts
 * @param {number} from
 * @returns {string|null} null where there is no such time, or it is so far away that it means for ever
 */
export function timeFrom(ts, from) {
  if (!(Math.abs(ts - from) < FOR_EVER_MS)) return null;
  if (dayKey(ts) === dayKey(from)) return clock(ts);
  const sameYear = new Date(ts).getFullYear() === new Date(from).getFullYear();
  return (sameYear ? formats.moment : formats.momentOfYear).format(ts);
}

/** The heading of a day in a conversation. @param {number} ts */
export function dayName(ts) {
  const days = daysAgo(ts);
  if (days === 0) return t("today");
  if (days === 1) return t("yesterday");
  const sameYear = new Date(ts).getFullYear() === new Date().getFullYear();
  return (sameYear ? formats.day : formats.dayOfYear).format(ts);
}

/** The time of a conversation in the list. @param {number} ts */
export function listTime(ts) {
  const days = daysAgo(ts);
  if (days === 0) return clock(ts);
  if (days === 1) return t("yesterday");
  if (days > 1 && days < 7) return formats.weekday.format(ts);
  const sameYear = new Date(ts).getFullYear() === new Date().getFullYear();
  return (sameYear ? formats.short : formats.shortOfYear).format(ts);
}

/**
 * Writes the texts into markup that names them: `data-t` for the text, `data-t-label` for the accessible name and the
 * tooltip, `data-t-placeholder`.
 * @param {ParentNode} root
 */
export function localize(root) {
  document.documentElement.lang = LOCALES[language];
  for (const node of root.querySelectorAll("[data-t]")) {
    node.textContent = t(/** @type {Key} */ (/** @type {HTMLElement} */ (node).dataset.t));
  }
  for (const node of root.querySelectorAll("[data-t-label]")) {
    const text = t(/** @type {Key} */ (/** @type {HTMLElement} */ (node).dataset.tLabel));
    node.setAttribute("aria-label", text);
    node.setAttribute("title", text);
  }
  for (const node of root.querySelectorAll("[data-t-placeholder]")) {
    node.setAttribute("placeholder", t(/** @type {Key} */ (/** @type {HTMLElement} */ (node).dataset.tPlaceholder)));
  }
}
